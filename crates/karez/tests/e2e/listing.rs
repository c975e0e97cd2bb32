//! Pages of directories, as a client gets them.

use serde_json::Value;
use std::fs;
use std::io::{ErrorKind, Read as _};
use std::net::Shutdown;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::client::Response;
use crate::files::write_dated;
use crate::names::{ODD, write_named};
use crate::server::Server;
use crate::strace::{Traced, injected};
use crate::ways::{self, Way};

/// The references of all rows but the way up, in their order.
fn references(page: &[u8]) -> Vec<String> {
    let page = std::str::from_utf8(page).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("<tr><td><a href=\"./"));
    rows.map(|row| row.split('"').next().unwrap().to_owned()).collect()
}

/// The objects of a listing in JSON.
fn objects(page: &[u8]) -> Vec<Value> {
    let Ok(Value::Array(objects)) = serde_json::from_slice(page) else {
        panic!("no array: {}", page.escape_ascii());
    };
    objects
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object[key].as_str().unwrap_or_else(|| panic!("no {key} in {object}"))
}

#[test]
fn every_reference_leads_to_its_file() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("odd & \"strange\"\u{e9}");
    fs::create_dir(&directory).unwrap();
    for name in ODD {
        write_named(&directory, name);
    }
    let base = "/odd%20%26%20%22strange%22%C3%A9/";
    for way in ways::some() {
        let server = Server::start_with(way, root.path(), &["--log", "off", "--hidden"]);
        let mut client = server.connect();
        let page = client.get(base).body;
        let json = objects(&client.get(&format!("{base}?format=json")).body);
        assert_eq!(json.len(), ODD.len(), "{way}");
        for page in
            [references(&page), json.iter().map(|o| text(o, "href")[2..].to_owned()).collect()]
        {
            let mut contents: Vec<_> =
                page.iter().map(|name| client.get(&format!("{base}{name}")).body).collect();
            contents.sort();
            let mut expected = ODD.to_vec();
            expected.sort_unstable();
            assert_eq!(contents, expected, "{way}");
        }
        let page = String::from_utf8(page).unwrap();
        assert!(page.contains("&lt;b&gt;&amp;amp;</a>"), "{way}: the name is shown as it is");
        assert!(page.contains("Index of /odd &amp; &quot;strange&quot;é/</title>"), "{way}");
        assert!(!page.contains("<b>") && !page.contains('\x1b'), "{way}");
        let names: Vec<_> = json.iter().map(|object| text(object, "name")).collect();
        assert!(names.contains(&"new\nline") && names.contains(&"žluťoučký 坎儿井 🐪"), "{way}");
    }
}

#[test]
fn what_cannot_be_had_is_not_listed() {
    let ground = tempfile::tempdir().unwrap();
    let root = ground.path().join("root");
    fs::create_dir_all(root.join("sub")).unwrap();
    for name in ["sub/f", "sub/.dot", "f", ".dot", "../secret"] {
        fs::write(root.join(name), name).unwrap();
    }
    let links = [("in", "f"), ("sub/up", "../f"), ("sub/down", "."), ("out", "../secret")];
    let dangling = [("none", "nothing"), ("loop", "loop"), ("root", "/")];
    for (name, target) in links.into_iter().chain(dangling) {
        symlink(target, root.join(name)).unwrap();
    }
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    for way in ways::some() {
        let server = Server::start(way, &root);
        assert_eq!(references(&server.get("/").body), ["sub/", "f", "in"], "{way}");
        assert_eq!(references(&server.get("/sub/").body), ["down/", "f", "up"], "{way}");
        let server = Server::start_with(way, &root, &["--log", "off", "--hidden"]);
        let all = references(&server.get("/").body);
        assert_eq!(all, ["sub/", ".dot", "f", "in"], "{way}");
        let empty = references(&server.get("/sub/down/?sort=nonsense").body);
        assert_eq!(empty, ["down/", ".dot", "f", "up"], "{way}");
    }
}

/// Serves a directory of three files, of which a statx(2) of `b` ends as `fault` says, and returns
/// the answer to a request for its listing: the bytes behind the head.
fn listed_under(fault: &str, way: Way, root: &Path) -> Option<Vec<u8>> {
    let inject = format!("inject=statx:{fault}");
    let traced = Traced::start_with(&["-P", "b", "-e", &inject], way, root)?;
    let mut client = traced.server.connect();
    assert_eq!(client.begin("/?format=json").status, 200, "{way}, {fault}");
    client.stream.get_ref().shutdown(Shutdown::Write).unwrap();
    let body = client.rest();
    assert!(injected(&traced.end().1, "statx") > 0, "{way}, {fault}");
    Some(body)
}

#[test]
fn an_entry_that_cannot_be_examined_ends_the_listing_early() {
    let root = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        fs::write(root.path().join(name), name).unwrap();
    }
    let is_whole = |body: &[u8]| body.ends_with(b"\r\n0\r\n\r\n");
    let has = |body: &[u8], name: &str| {
        String::from_utf8_lossy(body).contains(&format!("\"name\":\"{name}\""))
    };
    for way in ways::some() {
        for errno in ["EIO", "EUCLEAN", "ENOMEM", "EMFILE", "ESTALE", "ETIMEDOUT"] {
            let fault = format!("error={errno}");
            let Some(body) = listed_under(&fault, way, root.path()) else { return };
            assert!(!is_whole(&body), "{way}, {errno}: {}", body.escape_ascii());
        }
        for errno in ["ENOENT", "EACCES", "ELOOP", "EXDEV"] {
            let Some(body) = listed_under(&format!("error={errno}"), way, root.path()) else {
                return;
            };
            assert!(is_whole(&body) && !has(&body, "b") && has(&body, "c"), "{way}, {errno}");
        }
        let Some(body) = listed_under("error=EINTR:when=1..3", way, root.path()) else { return };
        assert!(is_whole(&body) && has(&body, "b"), "{way}, EINTR");
    }
}

/// For a client of HTTP/1.0 the end of the connection is the end of the listing, so a listing that fails
/// must not end like one that is complete.
#[test]
fn a_listing_that_fails_resets_the_connection_where_its_end_is_the_end_of_the_page() {
    let root = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        fs::write(root.path().join(name), name).unwrap();
    }
    for way in ways::some() {
        let inject = ["-P", "b", "-e", "inject=statx:error=EIO"];
        let Some(traced) = Traced::start_with(&inject, way, root.path()) else { return };
        let mut client = traced.server.connect();
        client.send("GET /?format=json HTTP/1.0\r\n\r\n");
        let mut page = Vec::new();
        let end = client.stream.read_to_end(&mut page);
        let kind = end.map_err(|error| error.kind());
        assert_eq!(kind, Err(ErrorKind::ConnectionReset), "{way}: {}", page.escape_ascii());
        assert!(injected(&traced.end().1, "statx") > 0, "{way}");
    }
}

#[test]
fn the_order_is_the_one_asked_for() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("z")).unwrap();
    for (name, size, modified) in [("a", 3, 200), ("B", 1, 100), ("C", 2, 300)] {
        write_dated(&root.path().join(name), "x".repeat(size), modified);
    }
    let cases = [
        ("", ["z/", "a", "B", "C"]),
        ("sort=name", ["z/", "a", "B", "C"]),
        ("sort=-name", ["z/", "C", "B", "a"]),
        ("sort=size", ["z/", "B", "C", "a"]),
        ("sort=-size", ["z/", "a", "C", "B"]),
        ("sort=time", ["z/", "B", "a", "C"]),
        ("sort=-time", ["z/", "C", "a", "B"]),
    ];
    for way in ways::some() {
        let server = Server::start(way, root.path());
        let mut client = server.connect();
        for (query, order) in cases {
            let page = client.get(&format!("/?{query}")).body;
            assert_eq!(references(&page), order, "{way}, {query}");
            let json = objects(&client.get(&format!("/?{query}&format=json")).body);
            let json: Vec<_> = json.iter().map(|object| &text(object, "href")[2..]).collect();
            assert_eq!(json, order, "{way}, {query}");
        }
    }
}

#[test]
fn json_says_what_a_program_wants_to_know() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("d")).unwrap();
    write_dated(&root.path().join("f"), "12345", 1_577_836_800);
    for way in ways::some() {
        let server = Server::start(way, root.path());
        let mut client = server.connect();
        let response = client.request("GET", "/", "Accept: application/json\r\n");
        assert_eq!(response.field("content-type"), Some("application/json"), "{way}");
        assert_eq!(response.field("vary"), Some("Accept"), "{way}");
        let objects = objects(&response.body);
        assert_eq!((text(&objects[0], "name"), text(&objects[0], "type")), ("d", "directory"));
        assert_eq!(objects[0]["size"], Value::Null, "{way}");
        assert_eq!((text(&objects[1], "name"), text(&objects[1], "type")), ("f", "file"));
        assert_eq!(objects[1]["size"], 5, "{way}");
        assert_eq!(text(&objects[1], "modified"), "2020-01-01T00:00:00Z", "{way}");
        for accepted in ["text/html, application/json", "*/*"] {
            let response = client.request("GET", "/", &format!("Accept: {accepted}\r\n"));
            assert_eq!(response.field("content-type"), Some("text/html; charset=utf-8"), "{way}");
        }
    }
}

#[test]
fn each_version_is_told_its_own_way_where_a_page_ends() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("f"), "content").unwrap();
    let is_whole = |response: &Response| {
        assert_eq!(response.status, 200);
        response.body.ends_with(b"</html>\n") && references(&response.body) == ["f"]
    };
    for way in ways::some() {
        let server = Server::start(way, root.path());
        let mut client = server.connect();
        let get = client.get("/");
        assert!(is_whole(&get), "{way}");
        assert_eq!(get.field("transfer-encoding"), Some("chunked"), "{way}");
        assert_eq!(get.field("content-length"), None, "{way}");

        let head = client.request("HEAD", "/", "");
        assert_eq!(head.lasting_fields(), get.lasting_fields(), "{way}");
        assert_eq!(client.get("/f").body, b"content", "{way}: no body behind the HEAD");

        client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let old = client.response(false);
        assert!(is_whole(&old), "{way}, 1.0");
        assert_eq!(old.field("connection"), Some("close"), "{way}, 1.0");
        assert_eq!(old.field("transfer-encoding"), None, "{way}, 1.0");
        assert_eq!(old.body, get.body, "{way}, 1.0");
    }
}

const MANY: usize = 100_000;

/// A root with a `small` file and a directory of a great many, made in no order.
fn crowded() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("many")).unwrap();
    fs::write(root.path().join("small"), "small").unwrap();
    let original = root.path().join("many/00000");
    fs::write(&original, "one of many").unwrap();
    for place in 1..MANY {
        let number = place * 77_773 % MANY;
        link(&original, &root.path().join(format!("many/{number:05}")));
    }
    root
}

/// Another name is less work than another file, up to the limit of the file system.
fn link(original: &Path, name: &Path) {
    if fs::hard_link(original, name).is_err() {
        fs::write(name, "one of many").unwrap();
    }
}

/// One thread for all connections, as far as the layout lets one choose.
fn start_narrow(way: Way, root: &Path) -> Server {
    let threads: &[&str] = if way.topology.has_reactors() { &["--threads", "1"] } else { &[] };
    Server::start_with(way, root, &[&["--log", "off"], threads].concat())
}

#[test]
fn a_directory_of_100_000_is_listed_whole_and_holds_nobody_up() {
    let root = crowded();
    let expected: Vec<_> = (0..MANY).map(|number| format!("{number:05}")).collect();
    for way in ways::some() {
        let server = start_narrow(way, root.path());
        let mut slow = server.connect();
        slow.narrow();
        slow.send("GET /many/ HTTP/1.0\r\n\r\n");
        assert_eq!(slow.head().unwrap().status, 200, "{way}");
        // The one who reads nothing more is in the middle of the page, and stays there.
        let mut client = server.connect();
        for _ in 0..10 {
            assert_eq!(client.get("/small").body, b"small", "{way}");
        }
        let json = client.get("/many/?format=json").body;
        let names = json.split(|&byte| byte == b'\n').filter_map(|line| line.get(9..14));
        let names: Vec<_> = names.map(String::from_utf8_lossy).collect();
        assert!(names == expected, "{way}: {} names", names.len());
        let page = slow.rest();
        assert!(references(&page) == expected, "{way}: {} rows", references(&page).len());
        assert!(page.ends_with(b"</html>\n"), "{way}");
    }
}
