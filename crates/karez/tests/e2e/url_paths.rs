//! From URL paths to file names, and which names are served at all.

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::process::getuid;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use crate::layouts::{self, Layout};
use crate::server::{KAREZ, Server};

/// Names with a meaning in a shell, in HTML or in a URL, or that are not UTF-8.
pub const ODD: &[&[u8]] = &[
    b"two words",
    b" ",
    b"a?b=c",
    b"a#b",
    b"100%",
    b"%41",
    b"\"double\"",
    b"it's",
    b"<b>&amp;",
    b"new\nline",
    b"\r\x1b[1m\x7f",
    b"back\\slash",
    b"semi;colon:colon",
    b"+&=",
    b"...dots...",
    b"http:",
    b"-rf",
    b"*",
    b"\xff\xfe\x80",
    "žluťoučký 坎儿井 🐪".as_bytes(),
];

/// Percent-encodes every byte.
pub fn escaped(name: &[u8]) -> String {
    name.iter().map(|byte| format!("%{byte:02x}")).collect()
}

/// Writes a file whose content is its name.
pub fn write_named(directory: &Path, name: &[u8]) {
    fs::write(directory.join(OsStr::from_bytes(name)), name).unwrap();
}

#[test]
fn any_file_name_can_be_requested() {
    let root = tempfile::tempdir().unwrap();
    for name in ODD {
        write_named(root.path(), name);
    }
    for layout in layouts::sample() {
        let server = Server::start_with(layout, root.path(), &["--log", "off", "--hidden"]);
        let mut client = server.connect();
        for name in ODD {
            let response = client.get(&format!("/{}", escaped(name)));
            assert_eq!(response.status, 200, "{layout}, {}", name.escape_ascii());
            assert_eq!(response.body, *name, "{layout}");
        }
        for target in ["/it's", "/+&=", "/-rf", "/*", "/two%20words?%zz", "/a%3Fb=c?b=c", "/%2541"]
        {
            assert_eq!(client.get(target).status, 200, "{layout}, {target}");
        }
        assert_eq!(client.get("/a?b=c").status, 404, "{layout}: the query is not part of the name");
        assert_eq!(client.get("/%41").status, 404, "{layout}: decoded once, it is A");
    }
}

/// Creates `f` and `d/f` in a directory `root`, and `secret` beside it.
fn ground() -> tempfile::TempDir {
    let ground = tempfile::tempdir().unwrap();
    fs::create_dir_all(ground.path().join("root/d")).unwrap();
    for name in ["root/f", "root/d/f", "secret"] {
        fs::write(ground.path().join(name), name).unwrap();
    }
    ground
}

#[test]
fn dot_segments_are_resolved_before_opening() {
    let ground = ground();
    let good = [
        ("/d/f", "root/d/f"),
        ("//d///f", "root/d/f"),
        ("/./d/./f", "root/d/f"),
        ("/d/../f", "root/f"),
        ("/d/x/../../f", "root/f"),
        ("/%64/%66", "root/d/f"),
        ("/d/%2e%2E/f", "root/f"),
    ];
    let climbing = [
        "/..",
        "/../",
        "/../secret",
        "/../root/f",
        "/d/../../secret",
        "/%2e%2e/secret",
        "/./../secret",
        "//../secret",
        "/d/%2E./../secret",
        "/..%2fsecret",
        "/%2e%2e%2fsecret",
        "/d%2Ff",
        "/d%2ff",
        "/%2f",
        "/f%00",
        "/%00",
        "/d/%00/f",
        "/%",
        "/f%",
        "/f%6",
        "/%zz",
        "/%u0066",
        "/f#part",
    ];
    let missing = [
        "/none",
        "/f/",
        "/f/.",
        "/f/x",
        "/d/f/",
        "/d/none",
        "/F",
        "/d\\f",
        "/d%5cf",
        "/..%5csecret",
        "/%252e%252e/secret",
        "/d/..f",
        "/secret",
    ];
    for layout in layouts::sample() {
        let server = Server::start(layout, &ground.path().join("root"));
        let mut client = server.connect();
        for (target, content) in good {
            let response = client.get(target);
            assert_eq!(String::from_utf8_lossy(&response.body), content, "{layout}, {target}");
        }
        for target in climbing {
            assert_eq!(client.get(target).status, 400, "{layout}, {target}");
        }
        for target in missing {
            assert_eq!(client.get(target).status, 404, "{layout}, {target}");
        }
        let long = "x".repeat(256);
        assert_eq!(client.get(&format!("/{long}")).status, 404, "{layout}, a name too long");
        let deep = "x/".repeat(2100);
        assert_eq!(client.get(&format!("/{deep}")).status, 404, "{layout}, a path too long");
    }
}

/// Returns the target that a client requests after a redirect from `target` to `reference` (RFC
/// 3986 §5.2.2, for a reference that is a path in its own directory; dot segments are resolved by
/// the server).
fn resolved(target: &str, reference: &str) -> String {
    let first = reference.split(['/', '?', '#']).next().unwrap();
    assert!(!first.is_empty() && !first.contains([':', '\\']), "more than a path: {reference}");
    let path = target.split('?').next().unwrap();
    format!("{}{reference}", &path[..=path.rfind('/').unwrap()])
}

#[test]
fn directories_redirect_to_a_trailing_slash() {
    let ground = ground();
    let root = ground.path().join("root");
    for name in ["a b?\"<é", "x:y", "http:", "\\evil", "d/evil.com", "d/deep/er"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    let cases = [
        ("/d", "d/"),
        ("/d?sort=size&x=%20?", "d/?sort=size&x=%20?"),
        ("/d?//evil/", "d/?//evil/"),
        ("/d?", "d/?"),
        ("/d/deep", "deep/"),
        ("/d/deep/er?q", "er/?q"),
        ("//d", "d/"),
        ("//d//evil.com", "evil.com/"),
        ("/d/../d", "d/"),
        ("/d/%2e%2e/d", "d/"),
        ("/./d/./deep", "deep/"),
        ("http://test/d?q", "d/?q"),
        ("http://test//d/deep", "deep/"),
        ("/a%20b%3F%22%3c%C3%a9", "a%20b%3F%22%3C%C3%A9/"),
        ("/x:y", "x%3Ay/"),
        ("/http:", "http%3A/"),
        ("/%5cevil", "%5Cevil/"),
    ];
    for layout in layouts::sample() {
        let server = Server::start(layout, &root);
        let mut client = server.connect();
        for (target, location) in cases {
            for method in ["GET", "HEAD"] {
                let response = client.request(method, target, "");
                assert_eq!(response.status, 308, "{layout}, {target}");
                assert_eq!(response.field("location"), Some(location), "{layout}, {target}");
                // The name may become a file later.
                assert_eq!(response.field("cache-control"), Some("no-cache"), "{layout}, {target}");
                assert_eq!(response.field("last-modified"), None, "{layout}, {target}");
            }
            let next = resolved(target, location);
            assert_eq!(client.get(&next).status, 200, "{layout}, {next}");
            // Behind a proxy that strips a prefix.
            let next = resolved(&format!("/prefix{target}"), location);
            if let Some(inside) = next.strip_prefix("/prefix") {
                assert_eq!(client.get(inside).status, 200, "{layout}, {inside}");
            }
            let mut old = server.connect();
            old.send(format!("GET {target} HTTP/1.0\r\n\r\n"));
            let response = old.response(false);
            let answer = (response.status, response.field("location"));
            assert_eq!(answer, (308, Some(location)), "{layout}, HTTP/1.0, {target}");
        }
    }
}

#[test]
fn hidden_files_need_the_hidden_flag() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join(".git/sub")).unwrap();
    for name in [".profile", ".git/config", ".git/sub/f", "..."] {
        fs::write(root.path().join(name), name).unwrap();
    }
    let targets = ["/.profile", "/%2eprofile", "/.git/config", "/.git/", "/.git/sub/f", "/..."];
    for layout in layouts::sample() {
        for (flags, status) in [(&["--log", "off"][..], 404), (&["--log", "off", "--hidden"], 200)]
        {
            let server = Server::start_with(layout, root.path(), flags);
            let mut client = server.connect();
            for target in targets {
                assert_eq!(client.get(target).status, status, "{layout}, {target}, {flags:?}");
            }
            let directory = if status == 200 { 308 } else { 404 };
            assert_eq!(client.get("/.git").status, directory, "{layout}, {flags:?}");
        }
    }
}

/// RFC 8615: the place of certificates, security contacts and app links.
#[test]
fn well_known_names_are_served_without_a_flag() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join(".well-known/acme-challenge")).unwrap();
    fs::create_dir_all(root.path().join("sub/.well-known")).unwrap();
    for name in [".well-known/acme-challenge/t", ".well-known/.secret", "sub/.well-known/t"] {
        fs::write(root.path().join(name), name).unwrap();
    }
    for layout in layouts::sample() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        let token = client.get("/.well-known/acme-challenge/t");
        assert_eq!(token.body, b".well-known/acme-challenge/t", "{layout}");
        assert_eq!(client.request("HEAD", "/%2Ewell-known/", "").status, 200, "{layout}");
        let listed = String::from_utf8(client.get("/?format=json").body).unwrap();
        assert!(listed.contains("\"./.well-known/\""), "{layout}: {listed}");
        for hidden in ["/.well-known/.secret", "/sub/.well-known/t", "/.well-known%2F../.git"] {
            assert_ne!(client.get(hidden).status, 200, "{layout}, {hidden}");
        }
    }
}

#[test]
fn index_file_is_served_for_its_directory() {
    let root = tempfile::tempdir().unwrap();
    for name in ["both", "start", "odd/index.html"] {
        fs::create_dir_all(root.path().join(name)).unwrap();
    }
    for name in ["both/index.html", "both/start.txt", "start/start.txt"] {
        fs::write(root.path().join(name), name).unwrap();
    }
    let page = |server: &Server, target: &str| {
        let response = server.get(target);
        assert_eq!(response.status, 200, "{target}");
        String::from_utf8(response.body).unwrap()
    };
    for layout in layouts::sample() {
        let server = Server::start(layout, root.path());
        assert_eq!(page(&server, "/both/"), "both/index.html", "{layout}");
        assert!(page(&server, "/start/").contains("start.txt"), "{layout}: a listing");
        assert!(page(&server, "/odd/").contains("index.html"), "{layout}: a listing");

        let flags = ["--log", "off", "--index", "start.txt"];
        let server = Server::start_with(layout, root.path(), &flags);
        assert_eq!(page(&server, "/both/"), "both/start.txt", "{layout}");
        assert_eq!(page(&server, "/start/"), "start/start.txt", "{layout}");

        let server = Server::start_with(layout, root.path(), &["--log", "off", "--no-listing"]);
        assert_eq!(page(&server, "/both/"), "both/index.html", "{layout}");
        assert_eq!(page(&server, "/start/start.txt"), "start/start.txt", "{layout}");
        for target in ["/", "/start/", "/odd/"] {
            assert_eq!(server.get(target).status, 403, "{layout}, {target}");
        }
    }
}

#[test]
fn links_are_followed_inside_the_root_only() {
    let ground = ground();
    let root = ground.path().join("root");
    let absolute = root.join("f");
    let links: [(&str, &Path, u16); 13] = [
        ("file", Path::new("f"), 200),
        ("d/up", Path::new("../f"), 200),
        ("around", Path::new("d/../d/./f"), 200),
        ("chain", Path::new("file"), 200),
        ("directory", Path::new("d"), 308),
        ("directory/f2", Path::new("f"), 200),
        ("out", Path::new("../secret"), 404),
        ("out-and-in", Path::new("../root/f"), 404),
        ("absolute", &absolute, 404),
        ("passwd", Path::new("/etc/passwd"), 404),
        ("parent", Path::new(".."), 404),
        ("dangling", Path::new("none"), 404),
        ("loop", Path::new("loop"), 404),
    ];
    for (name, target, _) in links {
        symlink(target, root.join(name)).unwrap();
    }
    for layout in layouts::sample() {
        let server = Server::start(layout, &root);
        let mut client = server.connect();
        for (name, _, status) in links {
            let response = client.get(&format!("/{name}"));
            assert_eq!(response.status, status, "{layout}, {name}");
            let served = String::from_utf8_lossy(&response.body).starts_with("root/");
            assert_eq!(served, status == 200, "{layout}, {name}");
        }
        assert_eq!(client.get("/directory/f").body, b"root/d/f", "{layout}");
        assert_eq!(client.get("/parent/secret").status, 404, "{layout}");
        assert_eq!(client.get("/parent/").status, 404, "{layout}");
    }
}

#[test]
fn special_files_are_404() {
    let root = tempfile::tempdir().unwrap();
    let path = |name| root.path().join(name);
    fs::write(path("f"), "content").unwrap();
    let mode = Mode::from_raw_mode(0o666);
    mknodat(CWD, path("fifo"), FileType::Fifo, mode, 0).unwrap();
    let _socket = UnixListener::bind(path("socket")).unwrap();
    let mut targets = vec!["/fifo", "/socket"];
    // The device numbers of /dev/null; only root can create a node.
    match mknodat(CWD, path("null"), FileType::CharacterDevice, mode, makedev(1, 3)) {
        Ok(()) => targets.push("/null"),
        Err(errno) => println!("skipped: a device in the tree: mknod: {errno}"),
    }
    for layout in layouts::sample() {
        let server = Server::start(layout, root.path());
        let (mut one, mut other) = (server.connect(), server.connect());
        for target in &targets {
            assert_eq!(one.get(target).status, 404, "{layout}, {target}");
            assert_eq!(one.request("HEAD", target, "").status, 404, "{layout}, {target}");
            assert_eq!(other.get("/f").body, b"content", "{layout}, beside {target}");
        }
    }
}

/// A user that owns no files.
const NOBODY: u32 = 65534;

#[test]
fn unreadable_files_are_403() {
    let root = tempfile::tempdir().unwrap();
    let path = |name| root.path().join(name);
    let allow = |name, mode| fs::set_permissions(path(name), Permissions::from_mode(mode)).unwrap();
    fs::create_dir(path("closed")).unwrap();
    fs::create_dir(path("through")).unwrap();
    for name in ["f", "unreadable", "closed/f", "through/f"] {
        fs::write(path(name), "content").unwrap();
    }
    for (name, mode) in [(".", 0o755), ("unreadable", 0), ("closed", 0), ("through", 0o711)] {
        allow(name, mode);
    }
    if let Err(why) = as_unprivileged_user().arg("--version").output() {
        return println!("skipped: the program may not be run by others: {why}");
    }
    for layout in layouts::sample() {
        let server = start_unprivileged(layout, root.path());
        let mut client = server.connect();
        for (target, status) in [
            ("/f", 200),
            ("/unreadable", 403),
            ("/closed/f", 403),
            ("/closed/", 403),
            ("/closed", 308),
            ("/through/f", 200),
            ("/through/none", 404),
        ] {
            assert_eq!(client.get(target).status, status, "{layout}, {target}");
        }
        if getuid().is_root() {
            // Without root privileges the server runs as the owner, which can read it.
            assert_eq!(client.get("/through/").status, 403, "{layout}");
            assert_eq!(client.get("/through").status, 308, "{layout}");
        }
    }
    // The directories must be writable to be removed.
    allow("closed", 0o700);
    allow("through", 0o700);
}

/// Returns a command that runs the program as an unprivileged user.
fn as_unprivileged_user() -> Command {
    let mut command = Command::new(KAREZ);
    if getuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn start_unprivileged(layout: Layout, root: &Path) -> Server {
    let mut command = as_unprivileged_user();
    command.arg("serve").arg(root).args(layout.flags());
    command.args(["--listen", "127.0.0.1:0", "--log", "off"]);
    Server::spawn(command)
}
