//! `--error-page` for errors that no lookup precedes: their pages are read with the configuration.

use rustix::process::Signal;
use std::fs;
use std::io::BufRead as _;
use std::process::Command;

use crate::client::Response;
use crate::http2_client::Http2Client;
use crate::https::text;
use crate::layouts::{self, Layout};
use crate::reloads::{LOADED, reload};
use crate::server::{KAREZ, Server};

const STATUSES: [u16; 9] = [400, 405, 412, 414, 416, 429, 431, 501, 505];

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("f"), "content").unwrap();
    fs::create_dir(root.path().join("errors")).unwrap();
    for status in STATUSES {
        fs::write(root.path().join(format!("errors/{status}.html")), page(status)).unwrap();
    }
    root
}

fn page(status: u16) -> String {
    format!("<p>{status}</p>")
}

fn flags() -> Vec<String> {
    let page = |status| ["--error-page".to_owned(), format!("{status}=errors/{status}.html")];
    let log = ["--log", "off"].map(str::to_owned);
    log.into_iter().chain(STATUSES.into_iter().flat_map(page)).collect()
}

fn start(layout: Layout, root: &tempfile::TempDir, more: &[&str]) -> Server {
    let flags = flags();
    let flags: Vec<_> = flags.iter().map(String::as_str).chain(more.iter().copied()).collect();
    Server::start_with(layout, root.path(), &flags)
}

fn assert_page(response: &Response, status: u16, what: &str) {
    assert_eq!(response.status, status, "{what}");
    assert_eq!(response.field("content-type"), Some("text/html; charset=utf-8"), "{what}");
    assert_eq!(String::from_utf8_lossy(&response.body), page(status), "{what}");
}

#[test]
fn every_error_has_its_page() {
    let root = root();
    let long = "x".repeat(8 << 10);
    let requests = [
        ("GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400, ""),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400, ""),
        ("POST /f HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 405, "allow"),
        ("GET /f HTTP/1.1\r\nHost: a\r\nIf-Match: \"x\"\r\n\r\n".to_owned(), 412, ""),
        (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414, ""),
        ("GET /f HTTP/1.1\r\nHost: a\r\nRange: bytes=9-\r\n\r\n".to_owned(), 416, "content-range"),
        (format!("GET /f HTTP/1.1\r\nHost: a\r\nX: {long}{long}\r\n\r\n"), 431, ""),
        ("BREW /f HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 501, ""),
        ("GET /f HTTP/2.0\r\nHost: a\r\n\r\n".to_owned(), 505, ""),
    ];
    for layout in layouts::sample() {
        let server = start(layout, &root, &[]);
        for (request, status, field) in &requests {
            let what = format!("{layout}: {}", &request[..request.len().min(60)]);
            let mut client = server.connect();
            client.send(request);
            let response = client.response(false);
            assert_page(&response, *status, &what);
            assert!(field.is_empty() || response.field(field).is_some(), "{what}");
        }
        let mut client = Http2Client::connect(&server, &[]);
        for (stream, method, fields, status) in
            [(1, "POST", &[][..], 405), (3, "GET", &[("range", "bytes=9-")], 416)]
        {
            let response = client.request(stream, method, "/f", fields);
            assert_eq!((response.status, response.body), (status, page(status).into()), "{layout}");
        }
        // Without a body, and with the length that it would have.
        let head = server.connect().request("HEAD", "/f", "If-Match: \"x\"\r\n");
        assert_eq!((head.status, head.field("content-length")), (412, Some("10")), "{layout}");
        // An error without a page is a sentence.
        assert_eq!(server.get("/none").body, b"404 Not Found\n", "{layout}");
    }
}

#[test]
fn a_client_beyond_its_limit_gets_the_page_and_the_time() {
    let root = root();
    for layout in layouts::sample() {
        let server = start(layout, &root, &["--max-rate-per-ip", "1/h"]);
        assert_eq!(server.get("/f").status, 200, "{layout}");
        let response = server.get("/f");
        assert_page(&response, 429, &layout.to_string());
        assert!(response.field("retry-after").is_some(), "{layout}");
    }
}

#[test]
fn pages_change_with_a_reload_and_missing_ones_are_reported() {
    let root = root();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("karez.toml");
    let write = |pages: &str| {
        let keys = format!("root = \"{}\"\nlisten = \"127.0.0.1:0\"", text(root.path()));
        fs::write(&file, format!("{keys}\nlog = \"off\"\nerror-page = {pages}\n")).unwrap();
    };
    write("[\"405=errors/405.html\", \"405=errors/501.html\"]");
    let mut command = Command::new(KAREZ);
    command.args(["serve", "--config", text(&file)]);
    let mut server = Server::spawn(command);
    let mut client = server.connect();
    assert_eq!(
        client.request("POST", "/f", "").body,
        page(501).into_bytes(),
        "the last one counts"
    );
    fs::write(root.path().join("errors/501.html"), "new").unwrap();
    assert_eq!(client.request("POST", "/f", "").body, page(501).into_bytes(), "it is kept");
    assert_eq!(reload(&mut server), LOADED);
    assert_eq!(client.request("POST", "/f", "").body, b"new");

    fs::write(root.path().join("large"), vec![b'x'; (64 << 10) + 1]).unwrap();
    for name in ["none.html", "large"] {
        write(&format!("\"405={name}\""));
        server.signal(Signal::HUP);
        let mut line = String::new();
        server.stderr.read_line(&mut line).unwrap();
        let expected = format!("the page {name} of error 405: no file of at most 64 KiB");
        assert!(line.contains(&expected), "{line}");
        line.clear();
        server.stderr.read_line(&mut line).unwrap();
        assert_eq!(line, LOADED);
        let response = client.request("POST", "/f", "");
        assert_eq!(response.field("content-type"), Some("text/plain; charset=utf-8"));
        assert!(response.body.starts_with(b"405 Method Not Allowed"));
    }
}
