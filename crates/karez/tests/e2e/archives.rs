//! Directories as tar archives (`--tar`): complete, resumed, over both protocols, by every via.

use karez_http::h2::ErrorCode;
use rustix::process::Signal;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::access::ANNA;
use crate::files::{pattern, write_dated};
use crate::http2_client::Http2Client;
use crate::layouts;
use crate::programs::{has, run};
use crate::server::Server;

const FLAGS: [&str; 3] = ["--log", "off", "--tar"];
/// The password in [`ANNA`].
const ANNAS_PASSWORD: &str = "Authorization: Basic YW5uYTpVKlU=\r\n";
const LONG_AGO: u64 = 1_234_567_890;

/// Makes a directory `d` with files of many sizes and names, links and holes.
fn tree() -> tempfile::TempDir {
    let ground = tempfile::tempdir().unwrap();
    let d = ground.path().join("d");
    fs::create_dir_all(d.join("sub/deep/er")).unwrap();
    fs::create_dir(d.join("empty")).unwrap();
    for (number, size) in [0, 1, 511, 512, 513, 16_384, 70_000, 3_000_000].into_iter().enumerate() {
        write_dated(&d.join(format!("sub/{number}")), pattern(size), LONG_AGO + number as u64);
    }
    for number in 0..40 {
        write_dated(&d.join(format!("sub/deep/er/{number}")), pattern(number * 97), LONG_AGO);
    }
    write_dated(&d.join("n".repeat(250)), "a long name", LONG_AGO);
    write_dated(&d.join(OsStr::from_bytes(b"not \xff UTF-8")), "bytes", LONG_AGO);
    write_dated(&d.join("run"), "#!/bin/sh\n", LONG_AGO);
    fs::set_permissions(d.join("run"), fs::Permissions::from_mode(0o755)).unwrap();
    let holes = File::create(d.join("holes")).unwrap();
    holes.set_len(2 << 20).unwrap();
    holes.write_all_at(b"data", 1 << 20).unwrap();
    symlink("sub/3", d.join("link")).unwrap();
    symlink("../run", d.join("sub/up")).unwrap();
    for name in [".hidden", "sub/.hidden"] {
        fs::write(d.join(name), "hidden").unwrap();
    }
    symlink("/etc/hostname", d.join("out")).unwrap();
    ground
}

/// Sends requests until no file of the archive is racy. Returns the tag that it has from then on.
fn tag(server: &Server) -> String {
    server.connect().wait_for_etag("/d/?format=tar")
}

/// Unpacks an archive by GNU tar; `None` if there is none.
fn unpacked(bytes: &[u8]) -> Option<tempfile::TempDir> {
    let version = Command::new("tar").arg("--version").output();
    if !version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("GNU tar")) {
        println!("skipped: no GNU tar");
        return None;
    }
    let into = tempfile::tempdir().unwrap();
    let mut command = Command::new("tar");
    command.args(["--no-same-owner", "-xpf", "-", "-C"]).arg(into.path());
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && printed.is_empty(), "{}: {printed}", output.status);
    Some(into)
}

/// Compares a directory with the unpacked one. Returns the number of entries.
fn assert_same(original: &Path, copy: &Path) -> usize {
    let names = |directory: &Path| {
        let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
        let is_shown =
            |name: &std::ffi::OsString| !name.as_bytes().starts_with(b".") && name != "out";
        let mut names: Vec<_> = entries.filter(is_shown).collect();
        names.sort();
        names
    };
    let expected = names(original);
    assert_eq!(names(copy), expected);
    let hidden = fs::read_dir(copy).unwrap().count() - expected.len();
    assert_eq!(hidden, 0, "{copy:?} has more than a request could get");
    expected.iter().fold(0, |count, name| {
        let (one, other) = (original.join(name), copy.join(name));
        let (meta, copied) = (one.symlink_metadata().unwrap(), other.symlink_metadata().unwrap());
        assert_eq!(meta.mode(), copied.mode(), "{one:?}");
        assert_eq!(meta.mtime(), copied.mtime(), "{one:?}");
        count
            + match meta.file_type() {
                kind if kind.is_dir() => 1 + assert_same(&one, &other),
                kind if kind.is_symlink() => {
                    assert_eq!(fs::read_link(&one).unwrap(), fs::read_link(&other).unwrap());
                    1
                }
                _ => {
                    assert!(fs::read(&one).unwrap() == fs::read(&other).unwrap(), "{one:?}");
                    1
                }
            }
    })
}

#[test]
fn gnu_tar_unpacks_the_same_tree() {
    let ground = tree();
    let mut first: Option<Vec<u8>> = None;
    for layout in layouts::all_with_vias() {
        let server = Server::start_with(layout, ground.path(), &FLAGS);
        let mut client = server.connect();
        let page = String::from_utf8(client.get("/d/").body).unwrap();
        assert!(page.contains("<a href=\"?format=tar\" rel=\"nofollow\" download>"), "{layout}");
        let response = client.get("/d/?format=tar");
        assert_eq!(response.status, 200, "{layout}");
        for (name, value) in [
            ("content-type", "application/x-tar"),
            ("content-disposition", "attachment; filename=\"d.tar\""),
            ("accept-ranges", "bytes"),
            ("cache-control", "no-cache"),
        ] {
            assert_eq!(response.field(name), Some(value), "{layout}");
        }
        assert_eq!(client.get("/d/run").body, b"#!/bin/sh\n", "{layout}: the connection goes on");
        let bytes = first.get_or_insert_with(|| response.body.clone());
        assert!(*bytes == response.body, "{layout}: the order is fixed");
    }
    let bytes = first.unwrap();
    let Some(copy) = unpacked(&bytes) else { return };
    let count = assert_same(&ground.path().join("d"), &copy.path().join("d"));
    assert_eq!(count, 58);
    let archive = ground.path().join("archive");
    fs::write(&archive, &bytes).unwrap();
    let listed = run(Command::new("tar").arg("-tvf").arg(&archive), "tar -t");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.lines().all(|line| line.split_whitespace().nth(1) == Some("0/0")), "{listed}");
}

#[test]
fn ranges_and_conditions_are_those_of_a_file() {
    let ground = tree();
    for layout in layouts::each_model() {
        let server = Server::start_with(layout, ground.path(), &FLAGS);
        let tag = tag(&server);
        let mut client = server.connect();
        let target = "/d/?format=tar";
        let whole = client.get(target);
        assert_eq!(whole.field("etag"), Some(&*tag), "{layout}");
        let body = whole.body.clone();
        let head = client.request("HEAD", target, "");
        assert_eq!(head.fields_without_date(), whole.fields_without_date(), "{layout}");
        let size = body.len();
        for number in 0..24 {
            let (start, length) = (number * 7919 * 31 % size, 1 + number * number * 4001);
            let end = (start + length).min(size);
            let range = format!("Range: bytes={start}-{}\r\nIf-Range: {tag}\r\n", end - 1);
            let part = client.request("GET", target, &range);
            assert_eq!(part.status, 206, "{layout}");
            let expected = format!("bytes {start}-{}/{size}", end - 1);
            assert_eq!(part.field("content-range"), Some(&*expected), "{layout}");
            assert!(part.body == body[start..end], "{layout}: {expected}");
        }
        let end = client.request("GET", target, "Range: bytes=-700\r\n");
        assert!(end.body == body[size - 700..], "{layout}");
        let several = client.request("GET", target, "Range: bytes=0-9,600000-600099\r\n");
        assert_eq!(several.status, 206, "{layout}");
        assert!(several.field("content-type").unwrap().starts_with("multipart/byteranges"));
        let has = |part: &[u8]| several.body.windows(part.len()).any(|window| window == part);
        assert!(has(&body[..10]) && has(&body[600_000..600_100]), "{layout}");
        let other = client.request("GET", target, "Range: bytes=0-9\r\nIf-Range: \"other\"\r\n");
        assert_eq!((other.status, other.body.len()), (200, size), "{layout}");
        let behind = client.request("GET", target, &format!("Range: bytes={size}-\r\n"));
        assert_eq!(behind.status, 416, "{layout}");
        let known = client.request("GET", target, &format!("If-None-Match: {tag}\r\n"));
        assert_eq!((known.status, known.field("etag")), (304, Some(&*tag)), "{layout}");
        let failed = client.request("GET", target, "If-Match: \"other\"\r\n");
        assert_eq!(failed.status, 412, "{layout}");
    }
}

#[test]
fn curl_resumes_an_interrupted_download() {
    if !has("curl") {
        return;
    }
    let ground = tree();
    let layout = layouts::sample().next().unwrap();
    let server = Server::start_with(layout, ground.path(), &FLAGS);
    let bytes = server.get("/d/?format=tar").body;
    let url = format!("http://{}/d/?format=tar", server.address);
    let path = ground.path().join("partial");
    for length in [1, 512, 1_000_001, bytes.len() - 1] {
        fs::write(&path, &bytes[..length]).unwrap();
        run(Command::new("curl").args(["-sS", "-C", "-", "-o"]).arg(&path).arg(&url), "curl");
        assert!(fs::read(&path).unwrap() == bytes, "from {length}");
    }
}

#[test]
fn http2_sends_the_same_archive_and_parts_of_it() {
    let ground = tree();
    for layout in layouts::sample() {
        let server = Server::start_with(layout, ground.path(), &FLAGS);
        tag(&server);
        let bytes = server.get("/d/?format=tar").body;
        // It opens its windows by the bytes of each frame, many of which are small.
        let mut client = Http2Client::connect(&server, &[]);
        // Two streams at once, each with its own files.
        client.get(1, "/d/?format=tar");
        client.get(3, "/d/sub/?format=tar");
        let (whole, other) = (client.finish(1), client.finish(3));
        assert!(whole.ended && whole.body == bytes, "{layout}");
        assert!(other.ended && other.status == 200 && other.body.len() > 3_000_000, "{layout}");
        let range = ("range", "bytes=100-2000000");
        let part = client.request(5, "GET", "/d/?format=tar", &[range]);
        assert!(part.ended && part.status == 206 && part.body == bytes[100..2_000_001], "{layout}");
        let head = client.request(7, "HEAD", "/d/?format=tar", &[]);
        assert!(head.ended && head.status == 200 && head.body.is_empty(), "{layout}");
    }
}

/// Each file is a frame of a few bytes, for which the client opens its windows by as little.
#[test]
fn http2_clients_may_open_their_windows_by_each_small_frame() {
    let ground = tempfile::tempdir().unwrap();
    let d = ground.path().join("d");
    fs::create_dir(&d).unwrap();
    for number in 0..2500 {
        write_dated(&d.join(number.to_string()), pattern(1 + number % 200), LONG_AGO);
    }
    for layout in layouts::sample() {
        let server = Server::start_with(layout, ground.path(), &FLAGS);
        tag(&server);
        let bytes = server.get("/d/?format=tar").body;
        let mut client = Http2Client::connect(&server, &[]);
        let archive = client.request(1, "GET", "/d/?format=tar", &[]);
        assert!(archive.ended && archive.body == bytes, "{layout}: {:?}", client.goaway);
    }
}

/// Makes a directory with a large file in front of more files than are open at a time.
fn large() -> tempfile::TempDir {
    let ground = tempfile::tempdir().unwrap();
    let d = ground.path().join("d");
    fs::create_dir(&d).unwrap();
    let old = SystemTime::now() - Duration::from_secs(60);
    let make = |name: &str, size| {
        let file = File::create(d.join(name)).unwrap();
        file.set_len(size).unwrap();
        file.set_modified(old).unwrap();
    };
    make("a", 16 << 20);
    (10..40).for_each(|number| make(&format!("b{number}"), 1000));
    make("c", 1000);
    ground
}

/// Rewrites the first bytes of a file in place.
fn rewrite(path: &Path) {
    File::options().write(true).open(path).unwrap().write_all_at(b"changed", 0).unwrap();
}

#[test]
fn a_file_that_changes_meanwhile_resets_the_response() {
    let patient = [&FLAGS[..], &["--send-timeout", "1h"]].concat();
    for layout in layouts::each_model() {
        // The file that is sent, and one that is not open yet.
        for changed in ["a", "c"] {
            let ground = large();
            let server = Server::start_with(layout, ground.path(), &patient);
            let mut client = server.connect();
            client.limit_receive_buffer();
            assert_eq!(client.start_get("/d/?format=tar").status, 200);
            client.read_body(100_000);
            rewrite(&ground.path().join("d").join(changed));
            let ended = client.read_all();
            assert_eq!(ended, Err(ErrorKind::ConnectionReset), "{layout}: {changed}");
            let again = server.get("/d/?format=tar");
            assert_eq!(again.status, 200, "{layout}");
            server.signal(Signal::TERM);
            let (status, printed) = server.wait();
            assert!(status.success(), "{status}: {printed}");
            assert!(printed.contains("was written while it was sent"), "{layout}: {printed}");
        }
    }
}

#[test]
fn a_file_that_changes_meanwhile_resets_the_stream() {
    let patient = [&FLAGS[..], &["--send-timeout", "1h"]].concat();
    for layout in layouts::sample() {
        for changed in ["a", "c"] {
            let ground = large();
            let server = Server::start_with(layout, ground.path(), &patient);
            let mut client = Http2Client::connect(&server, &[]);
            client.opens_windows = false;
            client.get(1, "/d/?format=tar");
            client.read_until(|client| client.response(1).body.len() == 65_535);
            rewrite(&ground.path().join("d").join(changed));
            client.opens_windows = true;
            client.window(0, 1 << 26);
            client.window(1, 1 << 26);
            let torn = client.finish(1);
            let expected = (false, Some(ErrorCode::INTERNAL_ERROR));
            assert_eq!((torn.ended, torn.reset), expected, "{layout}: {changed}");
            let again = client.request(3, "GET", "/d/c", &[]);
            assert!(again.ended && again.body.len() == 1000, "{layout}: the connection goes on");
        }
    }
}

#[test]
fn rules_of_access_hold_in_archives() {
    let ground = tempfile::tempdir().unwrap();
    let root = ground.path().join("root");
    fs::create_dir_all(root.join("d/private")).unwrap();
    fs::create_dir_all(root.join("d/denied")).unwrap();
    for name in ["d/f", "d/private/f", "d/denied/f", "d/x.key"] {
        fs::write(root.join(name), name).unwrap();
    }
    let users = ground.path().join("users");
    fs::write(&users, ANNA).unwrap();
    let auth = format!("--auth=/d/private/**={}", users.display());
    let deny = ["--deny", "/d/denied/**=all", "--deny", "*.key=127.0.0.0/8"];
    let flags = [&FLAGS[..], &deny, &[&auth]].concat();
    let has = |bytes: &[u8], text: &str| {
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    };
    for layout in layouts::sample() {
        let server = Server::start_with(layout, &root, &flags);
        let mut client = server.connect();
        let bytes = client.get("/d/?format=tar").body;
        assert!(has(&bytes, "d/f") && !has(&bytes, "private"), "{layout}");
        assert!(!has(&bytes, "denied") && !has(&bytes, "x.key"), "{layout}");
        assert_eq!(client.get("/d/denied/?format=tar").status, 403, "{layout}");
        assert_eq!(client.get("/d/private/?format=tar").status, 401, "{layout}");
        let anna = client.request("GET", "/d/private/?format=tar", ANNAS_PASSWORD);
        assert_eq!(anna.status, 200, "{layout}");
        assert!(has(&anna.body, "private/f"), "{layout}");
    }
}

#[test]
fn archives_are_off_by_default_and_where_directories_are_not_listed() {
    let ground = tree();
    let layout = layouts::sample().next().unwrap();
    let server = Server::start(layout, ground.path());
    let page = server.get("/d/?format=tar");
    assert_eq!(page.field("content-type"), Some("text/html; charset=utf-8"));
    assert!(!String::from_utf8_lossy(&page.body).contains("format=tar"));
    let flags = [&FLAGS[..], &["--no-listing"]].concat();
    let server = Server::start_with(layout, ground.path(), &flags);
    assert_eq!(server.get("/d/?format=tar").status, 403);
    fs::write(ground.path().join("d/index.html"), "index").unwrap();
    let server = Server::start_with(layout, ground.path(), &FLAGS);
    assert_eq!(server.get("/d/?format=tar").body, b"index");
}
