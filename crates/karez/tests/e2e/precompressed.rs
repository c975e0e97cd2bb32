//! Precompressed variants of files (RFC 9110 §12.5.3).
//!
//! Their content is not compressed in these tests: the server sends it unchanged, so any bytes do.

use std::collections::HashSet;
use std::fs;

use crate::client::{Client, Response};
use crate::files::write_dated;
use crate::layouts;
use crate::server::Server;

const OLD: u64 = 1_500_000_000;
const NEW: u64 = 1_600_000_000;

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let write = |name: &str, modified| {
        write_dated(&root.path().join(name), format!("this is {name}"), modified);
    };
    for name in ["page.html", "page.html.zst", "page.html.br", "page.html.gz"] {
        write(name, NEW);
    }
    for name in ["style.css", "style.css.br", "style.css.gz", "plain.txt", "index.html"] {
        write(name, OLD);
    }
    write("index.html.gz", NEW);
    // A stale variant of an older build, beside a newer file.
    write("stale.js", NEW);
    write("stale.js.br", OLD);
    write("stale.js.gz", NEW);
    write("odd.txt", OLD);
    fs::create_dir(root.path().join("odd.txt.gz")).unwrap();
    root
}

fn ask(client: &mut Client, target: &str, accepted: &str) -> Response {
    client.request("GET", target, &format!("Accept-Encoding: {accepted}\r\n"))
}

fn assert_sent(response: &Response, name: &str, coding: Option<&str>, what: &str) {
    assert_eq!(response.status, 200, "{what}");
    assert_eq!(response.field("content-encoding"), coding, "{what}");
    assert_eq!(response.field("vary"), Some("Accept-Encoding"), "{what}");
    assert_eq!(String::from_utf8_lossy(&response.body), format!("this is {name}"), "{what}");
}

/// A format that includes compression has that coding, and no second one (SVG 1.1 §1.2).
#[test]
fn svgz_has_content_encoding_gzip() {
    let root = tempfile::tempdir().unwrap();
    for name in ["x.svgz", "x.svgz.br", "x.svg.gz", "x.tgz"] {
        write_dated(&root.path().join(name), format!("this is {name}"), OLD);
    }
    for layout in layouts::sample() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        for accepted in ["gzip", "br", "identity", ""] {
            let response = ask(&mut client, "/x.svgz", accepted);
            assert_sent(&response, "x.svgz", Some("gzip"), accepted);
            assert_eq!(response.field("content-type"), Some("image/svg+xml"), "{layout}");
        }
        let head = client.request("HEAD", "/x.svgz", "");
        assert_eq!(head.field("content-encoding"), Some("gzip"), "{layout}");
        let part = client.request("GET", "/x.svgz", "Range: bytes=0-3\r\n");
        assert_eq!((part.status, part.field("content-encoding")), (206, Some("gzip")), "{layout}");
        for itself in ["/x.svg.gz", "/x.tgz"] {
            let response = client.get(itself);
            assert_eq!(response.field("content-encoding"), None, "{layout}, {itself}");
            assert_eq!(response.field("content-type"), Some("application/gzip"), "{layout}");
        }
    }
}

#[test]
fn coding_is_chosen_by_weight_then_by_server_order() {
    let root = root();
    let page = [
        ("gzip", "gzip"),
        ("br", "br"),
        ("zstd", "zstd"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip,br", "br"),
        ("zstd;q=0.4, br;q=0.5, gzip;q=0.7", "gzip"),
        ("gzip;q=1.0, br;q=0.999", "gzip"),
        ("br;q=0, gzip;q=0.001", "gzip"),
        ("*", "zstd"),
        ("*;q=0, gzip", "gzip"),
        ("zstd;q=0, *;q=0.5", "br"),
        ("GZip", "gzip"),
        ("x-gzip", "gzip"),
        ("identity;q=0.5, gzip;q=0.5", "gzip"),
        ("identity;q=0, br", "br"),
        ("br;q=nonsense, gzip", "gzip"),
        ("deflate, identity", ""),
        ("identity", ""),
        ("", ""),
        ("gzip;q=0", ""),
        ("gzip;q=0.5, identity;q=0.8", ""),
        ("*;q=0", ""),
        ("gzipped", ""),
    ];
    for layout in layouts::all_with_vias() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        for (accepted, coding) in page {
            let response = ask(&mut client, "/page.html", accepted);
            let (name, coding) = match coding {
                "" => ("page.html", None),
                "zstd" => ("page.html.zst", Some(coding)),
                "br" => ("page.html.br", Some(coding)),
                _ => ("page.html.gz", Some(coding)),
            };
            let what = format!("{layout}, {accepted:?}");
            assert_sent(&response, name, coding, &what);
            assert_eq!(response.field("content-type"), Some("text/html; charset=utf-8"), "{what}");
        }
        // Two field lines form one list; without the field the plain file is sent.
        let two = "Accept-Encoding: gzip;q=0.5\r\nAccept-Encoding: br\r\n";
        let response = client.request("GET", "/page.html", two);
        assert_sent(&response, "page.html.br", Some("br"), &format!("{layout}, two lines"));
        let response = client.get("/page.html");
        assert_sent(&response, "page.html", None, &format!("{layout}, no line"));
    }
}

#[test]
fn missing_or_older_variants_are_skipped() {
    let root = root();
    let cases = [
        ("/style.css", "zstd, gzip", "style.css.gz", Some("gzip"), "text/css; charset=utf-8"),
        ("/style.css", "zstd", "style.css", None, "text/css; charset=utf-8"),
        ("/plain.txt", "*", "plain.txt", None, "text/plain; charset=utf-8"),
        ("/stale.js", "br", "stale.js", None, "text/javascript; charset=utf-8"),
        (
            "/stale.js",
            "br, gzip;q=0.1",
            "stale.js.gz",
            Some("gzip"),
            "text/javascript; charset=utf-8",
        ),
        ("/odd.txt", "gzip", "odd.txt", None, "text/plain; charset=utf-8"),
        ("/", "gzip", "index.html.gz", Some("gzip"), "text/html; charset=utf-8"),
        // Requested by its own name it is an ordinary file.
        ("/page.html.gz", "gzip, br", "page.html.gz", None, "application/gzip"),
    ];
    for layout in layouts::sample() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        // Twice: the second time the files are cached open.
        for (target, accepted, name, coding, content_type) in cases.into_iter().chain(cases) {
            let what = format!("{layout}, {target}, {accepted}");
            let response = ask(&mut client, target, accepted);
            assert_sent(&response, name, coding, &what);
            assert_eq!(response.field("content-type"), Some(content_type), "{what}");
        }
    }
}

#[test]
fn each_coding_has_its_own_etag() {
    let root = root();
    for layout in layouts::sample() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        let mut tags = HashSet::new();
        for (coding, target) in [("identity", ""), ("zstd", ".zst"), ("br", ".br"), ("gzip", ".gz")]
        {
            client.wait_for_etag(&format!("/page.html{target}"));
            let response = ask(&mut client, "/page.html", coding);
            let tag = response.field("etag").unwrap().to_owned();
            // Its tag matches with the coding of the first response, and with no other.
            for accepted in ["identity", "zstd", "br", "gzip"] {
                let fields = format!("Accept-Encoding: {accepted}\r\nIf-None-Match: {tag}\r\n");
                let response = client.request("GET", "/page.html", &fields);
                let expected = if accepted == coding { 304 } else { 200 };
                assert_eq!(response.status, expected, "{layout}, {tag} of {coding}, {accepted}");
                assert_eq!(response.field("vary"), Some("Accept-Encoding"), "{layout}, {accepted}");
            }
            assert!(tags.insert(tag), "{layout}, {coding}");
        }
    }
}

#[test]
fn ranges_apply_to_the_coded_bytes() {
    let root = root();
    for layout in layouts::all_with_vias() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        let fields = "Accept-Encoding: gzip\r\nRange: bytes=8-\r\n";
        let response = client.request("GET", "/page.html", fields);
        assert_eq!(response.status, 206, "{layout}");
        assert_eq!(response.body, b"page.html.gz", "{layout}");
        assert_eq!(response.field("content-range"), Some("bytes 8-19/20"), "{layout}");
        assert_eq!(response.field("content-encoding"), Some("gzip"), "{layout}");
        assert_eq!(response.field("vary"), Some("Accept-Encoding"), "{layout}");
    }
}

#[test]
fn variants_appear_and_disappear_at_once() {
    for layout in layouts::sample() {
        let root = root();
        let coded = root.path().join("plain.txt.gz");
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        for turn in 0..3 {
            let what = format!("{layout}, turn {turn}");
            let response = ask(&mut client, "/plain.txt", "gzip");
            assert_sent(&response, "plain.txt", None, &what);
            write_dated(&coded, "this is plain.txt.gz", NEW);
            client.wait_for_etag("/plain.txt.gz");
            let response = ask(&mut client, "/plain.txt", "gzip");
            assert_sent(&response, "plain.txt.gz", Some("gzip"), &what);
            fs::remove_file(&coded).unwrap();
        }
    }
}
