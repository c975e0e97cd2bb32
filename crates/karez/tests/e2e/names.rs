//! From what stands in a URL to a name on the disk, and which names are served at all.

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

use crate::server::{KAREZ, Server};
use crate::ways::{self, Way};

/// Names that mean something to a shell, to HTML or to a URL, or are not UTF-8.
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

/// Every byte as an escape.
pub fn escaped(name: &[u8]) -> String {
    name.iter().map(|byte| format!("%{byte:02x}")).collect()
}

/// Writes a file whose content is its name.
pub fn write_named(directory: &Path, name: &[u8]) {
    fs::write(directory.join(OsStr::from_bytes(name)), name).unwrap();
}

#[test]
fn any_name_can_be_asked_for() {
    let root = tempfile::tempdir().unwrap();
    for name in ODD {
        write_named(root.path(), name);
    }
    for way in ways::some() {
        let server = Server::start_with(way, root.path(), &["--log", "off", "--hidden"]);
        let mut client = server.connect();
        for name in ODD {
            let response = client.get(&format!("/{}", escaped(name)));
            assert_eq!(response.status, 200, "{way}, {}", name.escape_ascii());
            assert_eq!(response.body, *name, "{way}");
        }
        for target in ["/it's", "/+&=", "/-rf", "/*", "/two%20words?%zz", "/a%3Fb=c?b=c", "/%2541"]
        {
            assert_eq!(client.get(target).status, 200, "{way}, {target}");
        }
        assert_eq!(client.get("/a?b=c").status, 404, "{way}: the query is none of the name");
        assert_eq!(client.get("/%41").status, 404, "{way}: decoded once, it is A");
    }
}

/// `f` and `d/f` in a directory `root`, and `secret` beside it.
fn ground() -> tempfile::TempDir {
    let ground = tempfile::tempdir().unwrap();
    fs::create_dir_all(ground.path().join("root/d")).unwrap();
    for name in ["root/f", "root/d/f", "secret"] {
        fs::write(ground.path().join(name), name).unwrap();
    }
    ground
}

#[test]
fn paths_are_resolved_before_they_are_opened() {
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
    for way in ways::some() {
        let server = Server::start(way, &ground.path().join("root"));
        let mut client = server.connect();
        for (target, content) in good {
            let response = client.get(target);
            assert_eq!(String::from_utf8_lossy(&response.body), content, "{way}, {target}");
        }
        for target in climbing {
            assert_eq!(client.get(target).status, 400, "{way}, {target}");
        }
        for target in missing {
            assert_eq!(client.get(target).status, 404, "{way}, {target}");
        }
        let long = "x".repeat(256);
        assert_eq!(client.get(&format!("/{long}")).status, 404, "{way}, a name too long");
        let deep = "x/".repeat(2100);
        assert_eq!(client.get(&format!("/{deep}")).status, 404, "{way}, a path too long");
    }
}

/// What a client asks for that was at `target` and is sent to `reference` (RFC 3986 §5.2.2, for a
/// reference that is a path of its own directory; dot segments are left to the server).
fn resolved(target: &str, reference: &str) -> String {
    let first = reference.split(['/', '?', '#']).next().unwrap();
    assert!(!first.is_empty() && !first.contains([':', '\\']), "more than a path: {reference}");
    let path = target.split('?').next().unwrap();
    format!("{}{reference}", &path[..=path.rfind('/').unwrap()])
}

#[test]
fn a_directory_is_asked_for_with_a_slash() {
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
    for way in ways::some() {
        let server = Server::start(way, &root);
        let mut client = server.connect();
        for (target, location) in cases {
            for method in ["GET", "HEAD"] {
                let response = client.request(method, target, "");
                assert_eq!(response.status, 308, "{way}, {target}");
                assert_eq!(response.field("location"), Some(location), "{way}, {target}");
                // It may be a file tomorrow.
                assert_eq!(response.field("cache-control"), Some("no-cache"), "{way}, {target}");
                assert_eq!(response.field("last-modified"), None, "{way}, {target}");
            }
            let next = resolved(target, location);
            assert_eq!(client.get(&next).status, 200, "{way}, {next}");
            // Behind a proxy that strips a prefix.
            let next = resolved(&format!("/prefix{target}"), location);
            if let Some(inside) = next.strip_prefix("/prefix") {
                assert_eq!(client.get(inside).status, 200, "{way}, {inside}");
            }
            let mut old = server.connect();
            old.send(format!("GET {target} HTTP/1.0\r\n\r\n"));
            let response = old.response(false);
            let answer = (response.status, response.field("location"));
            assert_eq!(answer, (308, Some(location)), "{way}, HTTP/1.0, {target}");
        }
    }
}

#[test]
fn dot_files_are_there_for_who_asks_for_them_to_be() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join(".git/sub")).unwrap();
    for name in [".profile", ".git/config", ".git/sub/f", "..."] {
        fs::write(root.path().join(name), name).unwrap();
    }
    let targets = ["/.profile", "/%2eprofile", "/.git/config", "/.git/", "/.git/sub/f", "/..."];
    for way in ways::some() {
        for (flags, status) in [(&["--log", "off"][..], 404), (&["--log", "off", "--hidden"], 200)]
        {
            let server = Server::start_with(way, root.path(), flags);
            let mut client = server.connect();
            for target in targets {
                assert_eq!(client.get(target).status, status, "{way}, {target}, {flags:?}");
            }
            let directory = if status == 200 { 308 } else { 404 };
            assert_eq!(client.get("/.git").status, directory, "{way}, {flags:?}");
        }
    }
}

/// RFC 8615: certificates, security contacts and app links are looked for there.
#[test]
fn well_known_names_are_served_without_a_flag() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join(".well-known/acme-challenge")).unwrap();
    fs::create_dir_all(root.path().join("sub/.well-known")).unwrap();
    for name in [".well-known/acme-challenge/t", ".well-known/.secret", "sub/.well-known/t"] {
        fs::write(root.path().join(name), name).unwrap();
    }
    for way in ways::some() {
        let server = Server::start(way, root.path());
        let mut client = server.connect();
        let token = client.get("/.well-known/acme-challenge/t");
        assert_eq!(token.body, b".well-known/acme-challenge/t", "{way}");
        assert_eq!(client.request("HEAD", "/%2Ewell-known/", "").status, 200, "{way}");
        let listed = String::from_utf8(client.get("/?format=json").body).unwrap();
        assert!(listed.contains("\"./.well-known/\""), "{way}: {listed}");
        for hidden in ["/.well-known/.secret", "/sub/.well-known/t", "/.well-known%2F../.git"] {
            assert_ne!(client.get(hidden).status, 200, "{way}, {hidden}");
        }
    }
}

#[test]
fn an_index_stands_for_its_directory() {
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
    for way in ways::some() {
        let server = Server::start(way, root.path());
        assert_eq!(page(&server, "/both/"), "both/index.html", "{way}");
        assert!(page(&server, "/start/").contains("start.txt"), "{way}: a listing");
        assert!(page(&server, "/odd/").contains("index.html"), "{way}: a listing");

        let flags = ["--log", "off", "--index", "start.txt"];
        let server = Server::start_with(way, root.path(), &flags);
        assert_eq!(page(&server, "/both/"), "both/start.txt", "{way}");
        assert_eq!(page(&server, "/start/"), "start/start.txt", "{way}");

        let server = Server::start_with(way, root.path(), &["--log", "off", "--no-listing"]);
        assert_eq!(page(&server, "/both/"), "both/index.html", "{way}");
        assert_eq!(page(&server, "/start/start.txt"), "start/start.txt", "{way}");
        for target in ["/", "/start/", "/odd/"] {
            assert_eq!(server.get(target).status, 403, "{way}, {target}");
        }
    }
}

#[test]
fn links_are_followed_as_long_as_they_stay_inside() {
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
    for way in ways::some() {
        let server = Server::start(way, &root);
        let mut client = server.connect();
        for (name, _, status) in links {
            let response = client.get(&format!("/{name}"));
            assert_eq!(response.status, status, "{way}, {name}");
            let served = String::from_utf8_lossy(&response.body).starts_with("root/");
            assert_eq!(served, status == 200, "{way}, {name}");
        }
        assert_eq!(client.get("/directory/f").body, b"root/d/f", "{way}");
        assert_eq!(client.get("/parent/secret").status, 404, "{way}");
        assert_eq!(client.get("/parent/").status, 404, "{way}");
    }
}

#[test]
fn what_is_neither_file_nor_directory_is_missing() {
    let root = tempfile::tempdir().unwrap();
    let path = |name| root.path().join(name);
    fs::write(path("f"), "content").unwrap();
    let mode = Mode::from_raw_mode(0o666);
    mknodat(CWD, path("fifo"), FileType::Fifo, mode, 0).unwrap();
    let _socket = UnixListener::bind(path("socket")).unwrap();
    let mut targets = vec!["/fifo", "/socket"];
    // The numbers of /dev/null; only root may make a node.
    match mknodat(CWD, path("null"), FileType::CharacterDevice, mode, makedev(1, 3)) {
        Ok(()) => targets.push("/null"),
        Err(errno) => println!("skipped: a device in the tree: mknod: {errno}"),
    }
    for way in ways::some() {
        let server = Server::start(way, root.path());
        let (mut one, mut other) = (server.connect(), server.connect());
        for target in &targets {
            assert_eq!(one.get(target).status, 404, "{way}, {target}");
            assert_eq!(one.request("HEAD", target, "").status, 404, "{way}, {target}");
            assert_eq!(other.get("/f").body, b"content", "{way}, beside {target}");
        }
    }
}

/// Somebody who owns nothing.
const NOBODY: u32 = 65534;

#[test]
fn what_may_not_be_read_is_forbidden() {
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
    if let Err(why) = as_nobody().arg("--version").output() {
        return println!("skipped: the program may not be run by others: {why}");
    }
    for way in ways::some() {
        let server = start_as_nobody(way, root.path());
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
            assert_eq!(client.get(target).status, status, "{way}, {target}");
        }
        if getuid().is_root() {
            // Without root to start from, the server runs as the owner, who may read it.
            assert_eq!(client.get("/through/").status, 403, "{way}");
            assert_eq!(client.get("/through").status, 308, "{way}");
        }
    }
    // Else they cannot be removed.
    allow("closed", 0o700);
    allow("through", 0o700);
}

/// The program as somebody who is not root.
fn as_nobody() -> Command {
    let mut command = Command::new(KAREZ);
    if getuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn start_as_nobody(way: Way, root: &Path) -> Server {
    let mut command = as_nobody();
    command.arg("serve").arg(root).args(way.flags());
    command.args(["--listen", "127.0.0.1:0", "--log", "off"]);
    Server::spawn(command)
}
