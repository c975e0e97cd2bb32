//! One table of exchanges over HTTP/1.1 and HTTP/2, each plain and over TLS: status, fields, bodies and
//! the lines of the access log agree.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;

use crate::client::{Client, Response};
use crate::files::pattern;
use crate::http2_client::{Http2Client, Http2Response};
use crate::https::Authority;
use crate::layouts;
use crate::server::Server;
use crate::socket::Socket;
use crate::timeouts::TimedReader;

type Fields = &'static [(&'static str, &'static str)];

/// Method, target and fields.
const EXCHANGES: &[(&str, &str, Fields)] = &[
    ("GET", "/page.html", &[]),
    ("GET", "/page.html", &[("accept-encoding", "br, gzip")]),
    ("HEAD", "/page.html", &[("accept-encoding", "gzip")]),
    ("GET", "/large", &[]),
    ("HEAD", "/large", &[]),
    ("GET", "/large", &[("range", "bytes=0-0")]),
    ("GET", "/large", &[("range", "bytes=16383-40000")]),
    ("GET", "/large", &[("range", "bytes=-5")]),
    ("GET", "/large", &[("range", "bytes=0-99, 70000-99999, -1")]),
    ("GET", "/large", &[("range", "bytes=999999999-")]),
    ("HEAD", "/large", &[("range", "bytes=0-0")]),
    ("GET", "/large", &[("if-none-match", "*")]),
    ("GET", "/large", &[("if-match", "\"no\"")]),
    ("GET", "/large", &[("if-none-match", "\"no\"")]),
    ("GET", "/large", &[("if-modified-since", "Thu, 01 Jan 2099 00:00:00 GMT")]),
    ("GET", "/empty", &[]),
    ("GET", "/directory/", &[]),
    ("GET", "/directory/", &[("accept", "application/json")]),
    ("HEAD", "/directory/", &[]),
    ("GET", "/directory/?sort=size&order=desc", &[]),
    ("GET", "/directory", &[]),
    ("GET", "/directory?a=b", &[]),
    ("GET", "/indexed/", &[]),
    ("GET", "/missing", &[]),
    ("HEAD", "/missing", &[]),
    ("GET", "/.hidden", &[]),
    ("GET", "/%2e%2e/%2e%2e/etc/passwd", &[]),
    ("GET", "/a%00b", &[]),
    ("GET", "/%zz", &[]),
    ("OPTIONS", "/large", &[]),
    ("OPTIONS", "*", &[]),
    ("POST", "/large", &[]),
    ("DELETE", "/large", &[]),
    ("BREW", "/large", &[]),
];

fn write_site(root: &Path) {
    fs::write(root.join("page.html"), "<h1>page</h1>").unwrap();
    fs::write(root.join("page.html.gz"), b"\x1f\x8b\x08 gzip").unwrap();
    fs::write(root.join("page.html.br"), "brotli").unwrap();
    fs::write(root.join("large"), pattern(100_000)).unwrap();
    fs::write(root.join("empty"), "").unwrap();
    fs::write(root.join(".hidden"), "hidden").unwrap();
    fs::create_dir(root.join("directory")).unwrap();
    for number in 0..700 {
        fs::write(root.join(format!("directory/file number {number}")), "").unwrap();
    }
    fs::create_dir(root.join("indexed")).unwrap();
    fs::write(root.join("indexed/index.html"), "index").unwrap();
}

/// A response without the parts that may differ: the date, the framing of HTTP/1.1 and the delimiter of
/// several ranges.
fn comparable(response: Response) -> (u16, Vec<(String, String)>, String) {
    let Response { status, mut fields, body } = response;
    let framing = ["date", "connection", "transfer-encoding", "server-timing"];
    fields.retain(|(name, _)| !framing.contains(&name.as_str()));
    let mut body = String::from_utf8_lossy(&body).into_owned();
    for (_, value) in &mut fields {
        if let Some((start, delimiter)) = value.split_once("boundary=") {
            body = body.replace(delimiter, "delimiter");
            *value = format!("{start}boundary=delimiter");
        }
    }
    (status, fields, body)
}

/// A protocol, and the transport that carries it.
#[derive(Clone, Copy, Debug)]
struct Column {
    http2: bool,
    tls: bool,
}

/// The first is compared with the others.
const COLUMNS: [Column; 4] = [
    Column { http2: false, tls: false },
    Column { http2: true, tls: false },
    Column { http2: false, tls: true },
    Column { http2: true, tls: true },
];

/// The server of a layout and its addresses.
struct Site<'a> {
    authority: &'a Authority,
    plain: SocketAddr,
    secure: SocketAddr,
}

impl Site<'_> {
    fn connect(&self, column: Column) -> Socket {
        if !column.tls {
            return Socket::connect(self.plain);
        }
        let protocols: &[&str] = if column.http2 { &["h2", "http/1.1"] } else { &["http/1.1"] };
        let config = self.authority.client(&[&rustls::version::TLS13], protocols);
        Socket::connect_secure(self.secure, config).unwrap()
    }

    /// Runs the table: HTTP/2 on one connection, HTTP/1.1 with a connection for each exchange.
    fn responses(&self, column: Column) -> Vec<Response> {
        let mut http2 = column.http2.then(|| Http2Client::over(self.connect(column), &[]));
        let exchanges = EXCHANGES.iter().zip((1..).step_by(2));
        let responses = exchanges.map(|(&(method, target, fields), stream)| match &mut http2 {
            Some(client) => {
                let response = client.request(stream, method, target, fields);
                assert!(response.ended, "{column:?}: {method} {target}: {response:?}");
                let Http2Response { status, fields, body, .. } = response;
                Response { status, fields, body }
            }
            None => {
                let lines: String =
                    fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
                Client::over(self.connect(column)).request(method, target, &lines)
            }
        });
        responses.collect()
    }
}

#[test]
fn both_protocols_give_the_same_responses_over_every_transport() {
    let (root, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    write_site(root.path());
    for (number, layout) in layouts::all().enumerate() {
        let (server, secure) = authority.serve_both(layout, root.path(), &["--log", "off"]);
        // Tags and dates appear when the files are old enough; the last one has been written last.
        let mut client = server.connect();
        client.wait_for_etag("/indexed/");
        client.wait_for_last_modified("/indexed/");
        drop(client);
        let site = Site { authority: &authority, plain: server.address, secure };
        let responses = |column| site.responses(column).into_iter().map(comparable);
        let expected: Vec<_> = responses(COLUMNS[0]).collect();
        for &column in layouts::cases(&COLUMNS[1..], number) {
            let found = responses(column);
            for ((wanted, found), exchange) in expected.iter().zip(found).zip(EXCHANGES) {
                let context = format!("{layout}: {column:?}: {exchange:?}");
                assert_eq!((wanted.0, &wanted.1), (found.0, &found.1), "{context}");
                assert!(wanted.2 == found.2, "{context}: bodies differ");
            }
        }
    }
}

#[test]
fn both_protocols_are_logged_and_explained_alike_over_every_transport() {
    let (root, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    write_site(root.path());
    for layout in layouts::sample() {
        let flags = ["--log", "json", "--explain"];
        let (mut server, secure) = authority.serve_both(layout, root.path(), &flags);
        let log = BufReader::new(TimedReader(server.stdout.take().unwrap()));
        let mut lines = log.lines().map(Result::unwrap);
        let site = Site { authority: &authority, plain: server.address, secure };
        let mut expected = Vec::new();
        for column in COLUMNS {
            for response in site.responses(column) {
                let timing = response.field("server-timing").unwrap_or_default();
                assert!(timing.contains("head-calls;desc="), "{layout}: {column:?}: {response:?}");
                let via = if column.tls || column.http2 { "via;desc=\"copy\"" } else { "via;" };
                assert!(!timing.contains("via;") || timing.contains(via), "{layout}: {timing}");
            }
            let entries = lines.by_ref().take(EXCHANGES.len());
            let mut logged: Vec<_> =
                entries.map(|line| logged(&line, column, &layout.to_string())).collect();
            logged.sort();
            if expected.is_empty() {
                expected = logged;
            } else {
                assert_eq!(logged, expected, "{layout}: {column:?}");
            }
        }
    }
}

/// Returns the part of a line of the log that is the same in all columns: request, status and bytes.
fn logged(line: &str, column: Column, layout: &str) -> (String, u64, u64) {
    let entry: serde_json::Value = serde_json::from_str(line).unwrap();
    let text = |name: &str| entry[name].as_str().unwrap_or_default();
    let context = format!("{layout}: {column:?}: {line}");
    let version = if column.http2 { "HTTP/2.0" } else { "HTTP/1.1" };
    assert_eq!(text("protocol"), version, "{context}");
    let tls = if column.tls { ("TLSv1.3", "TLS_AES_") } else { ("", "") };
    assert_eq!(text("tls_version"), tls.0, "{context}");
    assert!(text("tls_cipher").starts_with(tls.1), "{context}");
    let request = text("request").strip_suffix(version).unwrap().to_owned();
    let mut bytes = entry["bytes"].as_u64().unwrap();
    // HTTP/1.1 counts the framing of chunks, and delimiters of several ranges differ in length.
    let varies = request.contains("/directory/") || entry["status"] == 206;
    if varies && bytes > 100 {
        bytes = 100;
    }
    (request, entry["status"].as_u64().unwrap(), bytes)
}

#[test]
fn substitutions_are_made() {
    let root = tempfile::tempdir().unwrap();
    let content = "0123456789HERE".repeat(20_000);
    fs::write(root.path().join("f"), &content).unwrap();
    let expected = content.replace("HERE", "away");
    for layout in layouts::all() {
        let flags = ["--log", "off", "--substitute", "HERE=away"];
        let server = Server::start_with(layout, root.path(), &flags);
        let mut client = Http2Client::connect(&server, &[]);
        let whole = client.request(1, "GET", "/f", &[]);
        assert!(whole.ended && whole.body == expected.as_bytes(), "{layout}");
        let part = client.request(3, "GET", "/f", &[("range", "bytes=70003-199999")]);
        assert_eq!(part.status, 206, "{layout}");
        assert!(part.ended && part.body == expected.as_bytes()[70_003..200_000], "{layout}");
    }
}

#[test]
fn the_access_log_has_each_stream() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("large"), pattern(100_000)).unwrap();
    for layout in layouts::each_model() {
        let mut server = Server::start_with(layout, root.path(), &["--explain"]);
        let log = BufReader::new(TimedReader(server.stdout.take().unwrap()));
        let mut client = Http2Client::connect(&server, &[]);
        for (stream, path) in [(1, "/large"), (3, "/missing"), (5, "/large"), (7, "/")] {
            client.get(stream, path);
        }
        for stream in [1, 3, 5, 7] {
            let response = client.finish(stream);
            let timing = response.fields.iter().find(|(name, _)| name == "server-timing");
            assert!(timing.is_some(), "{layout}: {response:?}");
        }
        let lines: Vec<_> = log.lines().map(Result::unwrap).take(4).collect();
        let count = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
        assert_eq!(count("\"GET /large HTTP/2.0\" 200 100000 via=copy ran="), 2, "{lines:?}");
        assert_eq!(count("\"GET /missing HTTP/2.0\" 404 14 via=-"), 1, "{lines:?}");
        assert_eq!(count("\"GET / HTTP/2.0\" 200 "), 1, "{lines:?}");
    }
}
