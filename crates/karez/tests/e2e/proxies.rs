//! The address of a client behind proxies: request fields, and the PROXY protocol in front of HTTP/1.1, HTTP/2 and
//! TLS. Each client gets a response by its address, and the log has it.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};

use crate::client::Client;
use crate::command::expect_error;
use crate::http2_client::Http2Client;
use crate::https::Authority;
use crate::layouts;
use crate::server::Server;
use crate::socket::Socket;
use crate::timeouts::TimedReader;

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("f"), "file").unwrap();
    root
}

/// Denies two networks of clients.
const DENY: [&str; 2] = ["--deny=203.0.113.0/24", "--deny=2001:db8::/32"];

/// A field of a request, the address of its client, and the status of the response.
const FIELDS: &[(&str, &str, &str, u16)] = &[
    ("X-Forwarded-For", "192.0.2.1", "192.0.2.1", 200),
    ("X-Forwarded-For", "192.0.2.1, 203.0.113.7", "203.0.113.7", 403),
    ("X-Forwarded-For", "203.0.113.7, 192.0.2.1, 10.1.2.3", "192.0.2.1", 200),
    ("Forwarded", "for=192.0.2.1, For=\"[2001:db8::7]:80\";proto=https", "2001:db8::7", 403),
    ("Forwarded", "for=\"a, for=203.0.113.7", "203.0.113.7", 403),
    ("X-Real-IP", "203.0.113.7", "203.0.113.7", 403),
    ("X-Real-IP", "10.1.2.3", "10.1.2.3", 200),
    ("X-Forwarded-For", "unknown", "127.0.0.1", 200),
    ("X-Other", "203.0.113.7", "127.0.0.1", 200),
];

fn line_with(name: &str, value: &str) -> String {
    format!("{name}: {value}\r\n")
}

/// Returns the address of the next line of the log.
fn logged(lines: &mut impl Iterator<Item = std::io::Result<String>>) -> String {
    let line = lines.next().unwrap().unwrap();
    line.split(' ').next().unwrap().to_owned()
}

#[test]
fn fields_of_trusted_proxies_name_the_client() {
    let root = root();
    for layout in layouts::sample() {
        let trust = ["--trust-proxy", "10.0.0.0/8", "--trust-proxy", "127.0.0.0/8"];
        let mut server = Server::start_with(layout, root.path(), &[&trust[..], &DENY].concat());
        let stdout = TimedReader(server.stdout.take().unwrap());
        let mut lines = BufReader::new(stdout).lines();
        let mut client = server.connect();
        let mut multiplexed = Http2Client::connect(&server, &[]);
        let mut streams = (1..).step_by(2);
        for (name, value, address, status) in FIELDS {
            let response = client.request("GET", "/f", &line_with(name, value));
            assert_eq!(response.status, *status, "{layout}: {name}: {value}");
            assert_eq!(logged(&mut lines), *address, "{layout}: {name}: {value}");
            let stream = streams.next().unwrap();
            let response = multiplexed.request(stream, "GET", "/f", &[(name, value)]);
            assert_eq!(response.status, *status, "HTTP/2, {layout}: {name}: {value}");
            assert_eq!(logged(&mut lines), *address, "HTTP/2, {layout}: {name}: {value}");
        }
        // The peer of this server is not trusted.
        let trust = ["--trust-proxy", "10.0.0.0/8", "--proxy-protocol", "--log", "off"];
        let server = Server::start_with(layout, root.path(), &[&trust[..], &DENY].concat());
        for (name, value, ..) in FIELDS {
            let response = server.connect().request("GET", "/f", &line_with(name, value));
            assert_eq!(response.status, 200, "{layout}: {name}: {value}");
        }
        let mut client = server.connect();
        client.send("PROXY UNKNOWN\r\nGET /f HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response(false).status, 400, "{layout}");
    }
}

/// A header of version 2 for 203.0.113.7, with an extension.
const BINARY: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10\xcb\0\x71\x07\x7f\0\0\x01\0\x50\0\x50\x04\0\x01\0";

/// Headers, and the status of the response to the client that each names.
const HEADERS: &[(&[u8], u16)] = &[
    (b"PROXY TCP4 192.0.2.1 127.0.0.1 4711 80\r\n", 200),
    (b"PROXY TCP4 203.0.113.7 127.0.0.1 4711 80\r\n", 403),
    (b"PROXY TCP6 2001:db8::7 ::1 4711 80\r\n", 403),
    (b"PROXY UNKNOWN\r\n", 200),
    (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", 200),
    (BINARY, 403),
];

const PROXIED: [&str; 3] =
    ["--trust-proxy=127.0.0.0/8", "--trust-proxy=10.0.0.0/8", "--proxy-protocol"];

/// Connects, and sends a header; in pieces, if wanted, each of which arrives alone.
fn connect(server: &Server, header: &[u8], in_pieces: bool) -> Socket {
    let mut socket = Socket::connect(server.address);
    let length = if in_pieces { 1 } else { header.len() };
    for piece in header.chunks(length) {
        socket.write_all(piece).unwrap();
    }
    socket
}

#[test]
fn the_proxy_protocol_comes_first_on_every_model() {
    let root = root();
    let flags = [&PROXIED[..], &DENY, &["--log", "off"]].concat();
    for layout in layouts::each_model() {
        let mut server = Server::start_with(layout, root.path(), &flags);
        for (header, status) in HEADERS {
            let context = format!("{layout}: {}", header.escape_ascii());
            for in_pieces in [false, true] {
                let mut client = Client::over(connect(&server, header, in_pieces));
                for _ in 0..2 {
                    assert_eq!(client.get("/f").status, *status, "{context}");
                }
                let mut client = Http2Client::over(connect(&server, header, in_pieces), &[]);
                for stream in [1, 3] {
                    let response = client.request(stream, "GET", "/f", &[]);
                    assert_eq!(response.status, *status, "HTTP/2, {context}");
                }
            }
            // The header and a request in one piece.
            let request = [header, &b"GET /f HTTP/1.1\r\nHost: a\r\n\r\n"[..]].concat();
            let mut client = Client::over(connect(&server, &request, false));
            assert_eq!(client.response(false).status, *status, "{context}");
        }
        // The client that the header names is a proxy, too.
        let header = b"PROXY TCP4 10.0.0.1 127.0.0.1 4711 80\r\n";
        let mut client = Client::over(connect(&server, header, false));
        let fields = "X-Forwarded-For: 203.0.113.7\r\n";
        assert_eq!(client.request("GET", "/f", fields).status, 403, "{layout}");
        // A trusted proxy without a header.
        let mut client = server.connect();
        client.send("GET /f HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(client.is_closed(), "{layout}");
        let mut line = String::new();
        server.stderr.read_line(&mut line).unwrap();
        let expected = "karez: trusted proxy 127.0.0.1: no PROXY header: it begins otherwise\n";
        assert_eq!(line, expected, "{layout}");
    }
}

#[test]
fn the_proxy_protocol_precedes_the_handshake() {
    let (root, authority) = (root(), Authority::new());
    let flags = [&PROXIED[..], &DENY].concat();
    for layout in layouts::sample() {
        let server = authority.serve(layout, root.path(), &flags);
        for (header, status) in HEADERS {
            for protocol in ["http/1.1", "h2"] {
                let context = format!("{layout}, {protocol}: {}", header.escape_ascii());
                let config = authority.client(&[&rustls::version::TLS13], &[protocol]);
                let socket = connect(&server, header, true);
                let socket = socket.secure(config).unwrap();
                let found = match protocol {
                    "h2" => Http2Client::over(socket, &[]).request(1, "GET", "/f", &[]).status,
                    _ => Client::over(socket).get("/f").status,
                };
                assert_eq!(found, *status, "{context}");
            }
        }
        let config = authority.client(&[&rustls::version::TLS13], &[]);
        assert!(Socket::connect_secure(server.address, config).is_err(), "{layout}");
    }
}

#[test]
fn the_proxy_protocol_needs_trusted_networks() {
    expect_error(&["serve", "--proxy-protocol"], 2, &["--trust-proxy"]);
    expect_error(&["serve", "--trust-proxy", "localhost"], 2, &["localhost", "is no network"]);
}
