//! Directory listings as clients receive them.

use serde_json::Value;
use std::fs;
use std::io::{ErrorKind, Read as _};
use std::net::Shutdown;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::client::Response;
use crate::files::write_dated;
use crate::layouts::{self, Layout};
use crate::server::Server;
use crate::strace::{Traced, injected};
use crate::url_paths::{ODD, write_named};

/// Returns the references of all rows except the parent's, in order.
fn references(page: &[u8]) -> Vec<String> {
    let page = std::str::from_utf8(page).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("<tr><td><a href=\"./"));
    rows.map(|row| row.split('"').next().unwrap().to_owned()).collect()
}

/// Returns the objects of a JSON listing.
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
fn header_footer_filter_and_text() {
    let root = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("HEADER.html", "<p id=\"hello\">Packages</p>"),
        ("FOOTER.txt", "a < b"),
        ("karez_1.deb", "1"),
        ("other.deb", "2"),
    ] {
        write_dated(&root.path().join(name), content, 1_000_000_000);
    }
    let flags = ["--listing-header", "README.html", "--listing-header", "HEADER.html"];
    let flags = [&flags[..], &["--listing-footer", "FOOTER.txt"]].concat();
    for layout in layouts::sample() {
        let server = Server::start_with(layout, root.path(), &flags);
        let mut client = server.connect();
        let page = String::from_utf8(client.get("/").body).unwrap();
        let parts =
            ["<p id=\"hello\">Packages</p>", "./karez_1.deb", "./other.deb", "a &lt; b</pre>"];
        let places =
            parts.map(|part| page.find(part).unwrap_or_else(|| panic!("{layout}: {part}")));
        assert!(places.is_sorted(), "{layout}: {page}");
        assert_eq!(references(&client.get("/?filter=KAREZ").body), ["karez_1.deb"], "{layout}");
        let text = client.request("GET", "/?filter=deb", "Accept: text/plain\r\n");
        assert_eq!(text.field("content-type"), Some("text/plain; charset=utf-8"), "{layout}");
        let line = |name| format!("2001-09-09T01:46:40Z            1 ./{name}.deb\n");
        let expected = [line("karez_1"), line("other")].concat();
        assert_eq!(String::from_utf8(text.body).unwrap(), expected, "{layout}");
    }
}

#[test]
fn every_listed_reference_resolves_to_its_file() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("odd & \"strange\"\u{e9}");
    fs::create_dir(&directory).unwrap();
    for name in ODD {
        write_named(&directory, name);
    }
    let base = "/odd%20%26%20%22strange%22%C3%A9/";
    for layout in layouts::sample() {
        let server = Server::start_with(layout, root.path(), &["--log", "off", "--hidden"]);
        let mut client = server.connect();
        let page = client.get(base).body;
        let json = objects(&client.get(&format!("{base}?format=json")).body);
        assert_eq!(json.len(), ODD.len(), "{layout}");
        for page in
            [references(&page), json.iter().map(|o| text(o, "href")[2..].to_owned()).collect()]
        {
            let mut contents: Vec<_> =
                page.iter().map(|name| client.get(&format!("{base}{name}")).body).collect();
            contents.sort();
            let mut expected = ODD.to_vec();
            expected.sort_unstable();
            assert_eq!(contents, expected, "{layout}");
        }
        let page = String::from_utf8(page).unwrap();
        assert!(page.contains("&lt;b&gt;&amp;amp;</a>"), "{layout}: the name is shown unchanged");
        assert!(page.contains("Index of /odd &amp; &quot;strange&quot;é/</title>"), "{layout}");
        assert!(!page.contains("<b>") && !page.contains('\x1b'), "{layout}");
        let names: Vec<_> = json.iter().map(|object| text(object, "name")).collect();
        assert!(names.contains(&"new\nline") && names.contains(&"žluťoučký 坎儿井 🐪"), "{layout}");
    }
}

#[test]
fn only_served_entries_are_listed() {
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
    for layout in layouts::sample() {
        let server = Server::start(layout, &root);
        assert_eq!(references(&server.get("/").body), ["sub/", "f", "in"], "{layout}");
        assert_eq!(references(&server.get("/sub/").body), ["down/", "f", "up"], "{layout}");
        let server = Server::start_with(layout, &root, &["--log", "off", "--hidden"]);
        let all = references(&server.get("/").body);
        assert_eq!(all, ["sub/", ".dot", "f", "in"], "{layout}");
        let empty = references(&server.get("/sub/down/?sort=nonsense").body);
        assert_eq!(empty, ["down/", ".dot", "f", "up"], "{layout}");
    }
}

/// Serves a directory of three files, where statx(2) of `b` fails as `fault` says, and returns the
/// body of its listing.
fn listed_under(fault: &str, layout: Layout, root: &Path) -> Option<Vec<u8>> {
    let inject = format!("inject=statx:{fault}");
    let traced = Traced::start_with(&["-P", "b", "-e", &inject], layout, root)?;
    let mut client = traced.server.connect();
    assert_eq!(client.start_get("/?format=json").status, 200, "{layout}, {fault}");
    client.stream.get_ref().shutdown(Shutdown::Write).unwrap();
    let body = client.read_to_end();
    assert!(injected(&traced.end().1, "statx") > 0, "{layout}, {fault}");
    Some(body)
}

#[test]
fn failed_statx_ends_the_listing_early() {
    let root = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        fs::write(root.path().join(name), name).unwrap();
    }
    let is_whole = |body: &[u8]| body.ends_with(b"\r\n0\r\n\r\n");
    let has = |body: &[u8], name: &str| {
        String::from_utf8_lossy(body).contains(&format!("\"name\":\"{name}\""))
    };
    for layout in layouts::sample() {
        for errno in ["EIO", "EUCLEAN", "ENOMEM", "EMFILE", "ESTALE", "ETIMEDOUT"] {
            let fault = format!("error={errno}");
            let Some(body) = listed_under(&fault, layout, root.path()) else { return };
            assert!(!is_whole(&body), "{layout}, {errno}: {}", body.escape_ascii());
        }
        for errno in ["ENOENT", "EACCES", "ELOOP", "EXDEV"] {
            let Some(body) = listed_under(&format!("error={errno}"), layout, root.path()) else {
                return;
            };
            assert!(is_whole(&body) && !has(&body, "b") && has(&body, "c"), "{layout}, {errno}");
        }
        let Some(body) = listed_under("error=EINTR:when=1..3", layout, root.path()) else { return };
        assert!(is_whole(&body) && has(&body, "b"), "{layout}, EINTR");
    }
}

/// For an HTTP/1.0 client the end of the connection is the end of the listing, so a failed listing
/// must not end like a complete one.
#[test]
fn failed_http_1_0_listing_resets_the_connection() {
    let root = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        fs::write(root.path().join(name), name).unwrap();
    }
    for layout in layouts::sample() {
        let inject = ["-P", "b", "-e", "inject=statx:error=EIO"];
        let Some(traced) = Traced::start_with(&inject, layout, root.path()) else { return };
        let mut client = traced.server.connect();
        client.send("GET /?format=json HTTP/1.0\r\n\r\n");
        let mut page = Vec::new();
        let end = client.stream.read_to_end(&mut page);
        let kind = end.map_err(|error| error.kind());
        assert_eq!(kind, Err(ErrorKind::ConnectionReset), "{layout}: {}", page.escape_ascii());
        assert!(injected(&traced.end().1, "statx") > 0, "{layout}");
    }
}

#[test]
fn listing_is_sorted_as_requested() {
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
    for layout in layouts::sample() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        for (query, order) in cases {
            let page = client.get(&format!("/?{query}")).body;
            assert_eq!(references(&page), order, "{layout}, {query}");
            let json = objects(&client.get(&format!("/?{query}&format=json")).body);
            let json: Vec<_> = json.iter().map(|object| &text(object, "href")[2..]).collect();
            assert_eq!(json, order, "{layout}, {query}");
        }
    }
}

#[test]
fn json_listing_has_name_type_size_and_time() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("d")).unwrap();
    write_dated(&root.path().join("f"), "12345", 1_577_836_800);
    for layout in layouts::sample() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        let response = client.request("GET", "/", "Accept: application/json\r\n");
        assert_eq!(response.field("content-type"), Some("application/json"), "{layout}");
        assert_eq!(response.field("vary"), Some("Accept"), "{layout}");
        let objects = objects(&response.body);
        assert_eq!((text(&objects[0], "name"), text(&objects[0], "type")), ("d", "directory"));
        assert_eq!(objects[0]["size"], Value::Null, "{layout}");
        assert_eq!((text(&objects[1], "name"), text(&objects[1], "type")), ("f", "file"));
        assert_eq!(objects[1]["size"], 5, "{layout}");
        assert_eq!(text(&objects[1], "modified"), "2020-01-01T00:00:00Z", "{layout}");
        for accepted in ["text/html, application/json", "*/*"] {
            let response = client.request("GET", "/", &format!("Accept: {accepted}\r\n"));
            assert_eq!(
                response.field("content-type"),
                Some("text/html; charset=utf-8"),
                "{layout}"
            );
        }
    }
}

#[test]
fn listings_are_chunked_or_end_with_the_connection() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("f"), "content").unwrap();
    let is_whole = |response: &Response| {
        assert_eq!(response.status, 200);
        response.body.ends_with(b"</html>\n") && references(&response.body) == ["f"]
    };
    for layout in layouts::sample() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        let get = client.get("/");
        assert!(is_whole(&get), "{layout}");
        assert_eq!(get.field("transfer-encoding"), Some("chunked"), "{layout}");
        assert_eq!(get.field("content-length"), None, "{layout}");

        let head = client.request("HEAD", "/", "");
        assert_eq!(head.fields_without_date(), get.fields_without_date(), "{layout}");
        assert_eq!(client.get("/f").body, b"content", "{layout}: no body behind the HEAD");

        client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let old = client.response(false);
        assert!(is_whole(&old), "{layout}, 1.0");
        assert_eq!(old.field("connection"), Some("close"), "{layout}, 1.0");
        assert_eq!(old.field("transfer-encoding"), None, "{layout}, 1.0");
        assert_eq!(old.body, get.body, "{layout}, 1.0");
    }
}

const MANY: usize = 100_000;

/// A root with a `small` file and a directory with very many entries in no order.
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

/// A hard link is less work than a new file, up to the link limit of the file system.
fn link(original: &Path, name: &Path) {
    if fs::hard_link(original, name).is_err() {
        fs::write(name, "one of many").unwrap();
    }
}

/// Starts a server with one thread for all connections, where the layout allows that.
fn start_narrow(layout: Layout, root: &Path) -> Server {
    let threads: &[&str] = if layout.topology.has_reactors() { &["--threads", "1"] } else { &[] };
    Server::start_with(layout, root, &[&["--log", "off"], threads].concat())
}

#[test]
fn listing_of_100_000_entries_does_not_block_other_requests() {
    let root = crowded();
    let expected: Vec<_> = (0..MANY).map(|number| format!("{number:05}")).collect();
    for layout in layouts::sample() {
        let server = start_narrow(layout, root.path());
        let mut slow = server.connect();
        slow.limit_receive_buffer();
        slow.send("GET /many/ HTTP/1.0\r\n\r\n");
        assert_eq!(slow.head().unwrap().status, 200, "{layout}");
        // The client that has stopped reading is in the middle of the page, and stays there.
        let mut client = server.connect();
        for _ in 0..10 {
            assert_eq!(client.get("/small").body, b"small", "{layout}");
        }
        let json = client.get("/many/?format=json").body;
        let names = json.split(|&byte| byte == b'\n').filter_map(|line| line.get(9..14));
        let names: Vec<_> = names.map(String::from_utf8_lossy).collect();
        assert!(names == expected, "{layout}: {} names", names.len());
        let page = slow.read_to_end();
        assert!(references(&page) == expected, "{layout}: {} rows", references(&page).len());
        assert!(page.ends_with(b"</html>\n"), "{layout}");
    }
}
