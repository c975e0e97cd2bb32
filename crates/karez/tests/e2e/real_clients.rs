//! Real clients with real files: curl, wget and a browser. A missing client is skipped.

use std::env;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::files::pattern;
use crate::layouts;
use crate::programs::{has, run};
use crate::server::Server;
use crate::url_paths::{ODD, escaped, write_named};

/// Returns the maximum number of files, which bounds the time.
fn max_files() -> usize {
    if layouts::requested().is_some() { 20_000 } else { 5_000 }
}

/// The sources of crates that cargo has unpacked for this account: a realistic tree.
struct Crates {
    root: PathBuf,
    /// Paths of the crates relative to the root.
    crates: Vec<PathBuf>,
    /// Paths of all their files relative to the root.
    files: Vec<PathBuf>,
}

impl Crates {
    /// Returns crates with at most [`max_files`] files; `None` without any.
    fn find() -> Option<Self> {
        let home = env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")))?;
        let root = home.join("registry/src");
        let mut found = Self { root, crates: Vec::new(), files: Vec::new() };
        for registry in entries(&found.root) {
            for path in entries(&registry) {
                let files = found.files_below(&path);
                if found.files.len() + files.len() > max_files() {
                    println!("not all crates: {} files are enough", found.files.len());
                    return Some(found);
                }
                found.files.extend(files);
                found.crates.push(path.strip_prefix(&found.root).unwrap().to_owned());
            }
        }
        (!found.files.is_empty()).then_some(found)
    }

    fn files_below(&self, path: &Path) -> Vec<PathBuf> {
        let kind = path.symlink_metadata().unwrap().file_type();
        if kind.is_dir() {
            return entries(path).iter().flat_map(|entry| self.files_below(entry)).collect();
        }
        let file = kind.is_file().then(|| path.strip_prefix(&self.root).unwrap().to_owned());
        file.into_iter().collect()
    }

    /// Compares the fetched files with the originals, byte for byte.
    fn assert_fetched(&self, files: &[PathBuf], into: &Path, what: &str) {
        for name in files {
            let fetched = fs::read(into.join(name));
            let fetched = fetched.unwrap_or_else(|error| panic!("{what}: {name:?}: {error}"));
            assert!(fetched == fs::read(self.root.join(name)).unwrap(), "{what}: {name:?} differs");
        }
    }
}

/// Returns the sorted entries of a directory; none if there is no such directory.
fn entries(directory: &Path) -> Vec<PathBuf> {
    let found = fs::read_dir(directory).into_iter().flatten();
    let mut found: Vec<_> = found.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

/// The URL of a name below the root.
fn url(server: &Server, name: &Path) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let encode = |&byte: &u8| if plain(byte) { char::from(byte).into() } else { escaped(&[byte]) };
    let path: String = name.as_os_str().as_bytes().iter().map(encode).collect();
    format!("http://{}/{path}", server.address)
}

#[test]
fn curl_fetches_the_sources_of_crates() {
    let (true, Some(crates)) = (has("curl"), Crates::find()) else {
        return println!("skipped: no curl, or no sources of crates");
    };
    let layouts: Vec<_> = layouts::all_with_vias().collect();
    let count = layouts.len();
    for (turn, layout) in layouts.into_iter().enumerate() {
        // The files are divided among the layouts.
        let files: Vec<_> = crates.files.iter().skip(turn).step_by(count).cloned().collect();
        let server = Server::start_with(layout, &crates.root, &["--log", "off", "--hidden"]);
        let into = tempfile::tempdir().unwrap();
        let mut list = String::new();
        for name in &files {
            let output = into.path().join(name).display().to_string();
            let output = output.replace('\\', "\\\\").replace('"', "\\\"");
            writeln!(list, "url = \"{}\"\noutput = \"{output}\"", url(&server, name)).unwrap();
        }
        let config = into.path().join("config of this test");
        fs::write(&config, list).unwrap();
        let mut curl = Command::new("curl");
        curl.args(["-q", "--silent", "--show-error", "--fail", "--globoff", "--noproxy", "*"]);
        curl.args(["--create-dirs", "--parallel", "--parallel-max", "8", "--config"]);
        run(curl.arg(&config), &layout.to_string());
        crates.assert_fetched(&files, into.path(), &layout.to_string());
    }
}

#[test]
fn wget_follows_the_listings_of_the_sources_of_crates() {
    let (true, Some(crates)) = (has("wget"), Crates::find()) else {
        return println!("skipped: no wget, or no sources of crates");
    };
    let layouts: Vec<_> = layouts::all_with_vias().collect();
    let count = layouts.len();
    for (turn, layout) in layouts.into_iter().enumerate() {
        let share: Vec<_> = crates.crates.iter().skip(turn).step_by(count).collect();
        // Some crates have an index.html; here it is an ordinary file.
        let flags = ["--log", "off", "--hidden", "--index", ".no such index"];
        let server = Server::start_with(layout, &crates.root, &flags);
        let into = tempfile::tempdir().unwrap();
        let mut wget = Command::new("wget");
        wget.args(["--no-config", "--no-proxy", "--no-verbose", "--execute", "robots=off"]);
        wget.args(["--recursive", "--level=inf", "--no-parent", "--no-host-directories"]);
        // Not the same pages in another order; and a listing's file name must not collide with a
        // file.
        wget.args(["--reject-regex", "[?]", "--default-page=.listing of this test"]);
        wget.arg("--directory-prefix").arg(into.path());
        wget.args(share.iter().map(|name| url(&server, name) + "/"));
        run(&mut wget, &layout.to_string());
        let is_mine = |file: &&PathBuf| share.iter().any(|name| file.starts_with(name));
        let files: Vec<_> = crates.files.iter().filter(is_mine).cloned().collect();
        crates.assert_fetched(&files, into.path(), &layout.to_string());
    }
}

#[test]
fn curl_resumes_an_interrupted_download() {
    if !has("curl") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let content = pattern(16 << 20);
    fs::write(root.path().join("f"), &content).unwrap();
    let path = root.path().join("download");
    for layout in layouts::all_with_vias() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        client.start_get("/f");
        fs::write(&path, client.read_body(5_000_001)).unwrap();
        drop(client);
        let mut curl = Command::new("curl");
        curl.args(["-q", "--silent", "--show-error", "--fail", "--noproxy", "*"]);
        curl.args(["--write-out", "%{http_code} %{size_download}", "--continue-at", "-"]);
        curl.arg("--output").arg(&path).arg(url(&server, Path::new("f")));
        let output = run(&mut curl, &layout.to_string());
        assert_eq!(output.stdout, b"206 11777215", "{layout}");
        assert!(fs::read(&path).unwrap() == content, "{layout}");
    }
}

/// Creates sub-directories, and files with short, long, odd and many names.
fn gallery() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("photos and other things");
    for name in ["2024", "2025", "A directory with a name of several words"] {
        fs::create_dir_all(directory.join(name)).unwrap();
    }
    for name in ODD.iter().filter(|name| !name.starts_with(b".")) {
        write_named(&directory, name);
    }
    for number in 0..40_usize {
        let name = format!("IMG_{number:04}.jpeg");
        fs::write(directory.join(name), vec![0; number * number * 999]).unwrap();
    }
    for name in ["word".repeat(50), format!("{}txt", "many short words. ".repeat(12))] {
        write_named(&directory, name.as_bytes());
    }
    root
}

#[test]
fn browser_renders_a_listing_at_two_screen_sizes() {
    if !has("chromium") {
        return;
    }
    let root = gallery();
    // The page is the same in every layout, and a browser is slow: one layout per screenshot.
    for ((width, height), layout) in
        [(1280_u32, 800_u32), (390, 844)].into_iter().zip(layouts::all())
    {
        let server = Server::start(layout, root.path());
        let page = url(&server, Path::new("photos and other things/"));
        let picture = root.path().join(format!("{width}.png"));
        take_screenshot(&page, (width, height), root.path(), &picture);
        let png = fs::read(&picture).unwrap();
        assert!(png.starts_with(b"\x89PNG\r\n\x1a\n"), "{layout}");
        let size = [16, 20].map(|at| u32::from_be_bytes(png[at..at + 4].try_into().unwrap()));
        assert_eq!(size, [width, height], "{layout}");
        // A blank or broken page is much smaller: a picture of one colour takes a few KiB.
        assert!(png.len() > 20_000, "{layout}: {} bytes", png.len());
    }
}

fn take_screenshot(page: &str, (width, height): (u32, u32), root: &Path, picture: &Path) {
    let option = |name: &str, value: &OsStr| {
        let mut option = OsStr::new(name).to_owned();
        option.push(value);
        option
    };
    let mut browser = Command::new("chromium");
    browser.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]);
    browser.args(["--no-first-run", "--disable-background-networking", "--no-proxy-server"]);
    browser.args(["--disable-component-update", "--disable-sync", "--hide-scrollbars"]);
    browser.arg(option("--user-data-dir=", root.join(".profile").as_os_str()));
    browser.arg(option("--screenshot=", picture.as_os_str()));
    browser.arg(format!("--window-size={width},{height}")).arg(page);
    run(&mut browser, "chromium");
}
