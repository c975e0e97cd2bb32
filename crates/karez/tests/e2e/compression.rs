//! `--compress`: files that are compressed as they are requested (RFC 9110 §8.4.1, §12.5.3).

use std::fs;
use std::process::Command;

use crate::client::{Client, Response};
use crate::files::{pattern, write_dated};
use crate::layouts;
use crate::programs::{decoded, has_curl, run};
use crate::server::Server;

const OLD: u64 = 1_500_000_000;
const NEW: u64 = 1_600_000_000;

fn page(word: &str) -> String {
    format!("<p>{word}</p>\n").repeat(500)
}

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| write_dated(&root.path().join(name), content, OLD);
    write("page.html", page("desert").as_bytes());
    write("index.html", page("index").as_bytes());
    write("both.js", page("plain").as_bytes());
    write("both.js.gz", b"made before");
    write("short.txt", b"short");
    write("picture.png", page("no picture").as_bytes());
    write("noise.txt", &pattern(5000));
    root
}

fn ask(client: &mut Client, target: &str, fields: &str) -> Response {
    client.request("GET", target, fields)
}

/// Asks until the file comes compressed; other answers are plain.
fn compressed(client: &mut Client, target: &str, coding: &str, what: &str) -> Response {
    loop {
        let response = ask(client, target, &format!("Accept-Encoding: {coding}\r\n"));
        assert_eq!(response.status, 200, "{what}");
        assert_eq!(response.field("vary"), Some("Accept-Encoding"), "{what}");
        match response.field("content-encoding") {
            Some(found) => {
                assert_eq!(found, coding, "{what}");
                return response;
            }
            None => assert!(response.body.starts_with(b"<p>"), "{what}"),
        }
    }
}

#[test]
fn files_are_compressed_in_each_coding_and_have_tags_of_their_own() {
    let root = root();
    for layout in layouts::all_with_vias() {
        let server = Server::start_with(layout, root.path(), &["--compress"]);
        let mut client = server.connect();
        let plain = ask(&mut client, "/page.html", "");
        let mut tags = vec![plain.field("etag").unwrap().to_owned()];
        for coding in ["zstd", "br", "gzip"] {
            let what = format!("{layout}, {coding}");
            let first = compressed(&mut client, "/page.html", coding, &what);
            assert!(first.body.len() < plain.body.len() / 10, "{what}");
            assert_eq!(first.field("content-type"), plain.field("content-type"), "{what}");
            assert_eq!(first.field("last-modified"), plain.field("last-modified"), "{what}");
            if let Some(bytes) = decoded(coding, &first.body) {
                assert!(bytes == plain.body, "{what}: other bytes");
            }
            // It stays the same, also for HEAD, and its tag is a validator.
            let again = compressed(&mut client, "/page.html", coding, &what);
            assert!(again.body == first.body, "{what}");
            let accepted = format!("Accept-Encoding: {coding}\r\n");
            let head = client.request("HEAD", "/page.html", &accepted);
            assert_eq!(head.fields_without_date(), first.fields_without_date(), "{what}");
            let tag = first.field("etag").unwrap().to_owned();
            let fields = format!("{accepted}If-None-Match: {tag}\r\n");
            assert_eq!(ask(&mut client, "/page.html", &fields).status, 304, "{what}");
            tags.push(tag);
        }
        tags.sort();
        tags.dedup();
        assert_eq!(tags.len(), 4, "{layout}: {tags:?}");
        assert!(compressed(&mut client, "/", "gzip", "index").body.len() < 1000, "{layout}");
    }
}

#[test]
fn other_files_and_ranges_are_sent_as_they_are() {
    let root = root();
    for layout in layouts::sample() {
        let server = Server::start_with(layout, root.path(), &["--compress"]);
        let mut client = server.connect();
        let any = "Accept-Encoding: zstd, br, gzip\r\n";
        for name in ["short.txt", "picture.png", "noise.txt"] {
            for _ in 0..4 {
                let response = ask(&mut client, &format!("/{name}"), any);
                assert_eq!(response.field("content-encoding"), None, "{layout}, {name}");
                assert!(response.body == fs::read(root.path().join(name)).unwrap(), "{layout}");
            }
        }
        let response = ask(&mut client, "/both.js", any);
        assert_eq!(response.field("content-encoding"), Some("gzip"), "{layout}");
        assert_eq!(response.body, b"made before", "{layout}");

        let tag = compressed(&mut client, "/page.html", "zstd", "before the range");
        let tag = tag.field("etag").unwrap().to_owned();
        for _ in 0..4 {
            let fields = format!("{any}Range: bytes=3-8\r\n");
            let part = ask(&mut client, "/page.html", &fields);
            assert_eq!((part.status, &part.body[..]), (206, &b"desert"[..]), "{layout}");
            assert_eq!(part.field("content-encoding"), None, "{layout}");
            // A part of the compressed content cannot be had.
            let whole = ask(&mut client, "/page.html", &format!("{fields}If-Range: {tag}\r\n"));
            assert_eq!((whole.status, whole.field("content-encoding")), (200, None), "{layout}");
        }
        let without = Server::start(layout, root.path());
        let response = ask(&mut without.connect(), "/page.html", any);
        assert_eq!(response.field("content-encoding"), None, "{layout}: without the flag");
    }
}

#[test]
fn new_versions_are_compressed_anew() {
    let (root, scratch) = (root(), tempfile::tempdir().unwrap());
    for layout in layouts::sample() {
        write_dated(&root.path().join("page.html"), page("desert"), OLD);
        let server = Server::start_with(layout, root.path(), &["--compress"]);
        let mut client = server.connect();
        let old = compressed(&mut client, "/page.html", "gzip", "old");
        for word in ["dunes", "oasis"] {
            let new = scratch.path().join("new");
            write_dated(&new, page(word), NEW);
            fs::copy(&new, root.path().join("new")).unwrap();
            fs::rename(root.path().join("new"), root.path().join("page.html")).unwrap();
            // Plain or compressed, never the version before.
            let first = ask(&mut client, "/page.html", "Accept-Encoding: gzip\r\n");
            assert_ne!(first.field("etag"), old.field("etag"), "{layout}");
            let packed = compressed(&mut client, "/page.html", "gzip", "new");
            if let Some(bytes) = decoded("gzip", &packed.body) {
                assert_eq!(String::from_utf8(bytes).unwrap(), page(word), "{layout}");
            }
        }
    }
}

#[test]
fn curl_decodes_compressed_files_over_http2() {
    if !has_curl() {
        return;
    }
    let root = root();
    for layout in layouts::sample() {
        let server = Server::start_with(layout, root.path(), &["--compress"]);
        compressed(&mut server.connect(), "/page.html", "gzip", "before");
        let url = format!("http://{}/page.html", server.address);
        let mut curl = Command::new("curl");
        curl.args(["-q", "--silent", "--fail", "--noproxy", "*", "--http2-prior-knowledge"]);
        curl.args(["--header", "Accept-Encoding: gzip", "--compressed", "--write-out"]);
        let output = run(curl.args(["%header{content-encoding}", &url]), &layout.to_string());
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(printed, format!("{}gzip", page("desert")), "{layout}");
    }
}
