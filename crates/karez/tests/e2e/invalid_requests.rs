//! Invalid requests: answered once, then the connection closes, and no following bytes are taken
//! for a request (RFC 9112 §11.2).

use std::fs;

use crate::layouts;
use crate::server::Server;

/// Sent after each invalid request. A second response would belong to this one.
const SMUGGLED: &[u8] = b"GET /f HTTP/1.1\r\nHost: test\r\n\r\n";

/// Request heads that two parsers could interpret differently.
const AMBIGUOUS: &[&str] = &[
    "POST /f HTTP/1.1\r\nHost: a\r\n\
     Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "POST /f HTTP/1.1\r\nHost: a\r\n\
     Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST /f HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "POST /f HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 6\r\n\r\nhello",
    "POST /f HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
    "POST /f HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nhello",
    "POST /f HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello",
    "POST /f HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nhello",
    "POST /f HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nhello",
    "POST /f HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "POST /f HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "POST /f HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "POST /f HTTP/1.1\r\nHost: a\r\n\
     Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
    "POST /f HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "GET /f HTTP/1.1\nHost: a\n\n",
    "GET /f HTTP/1.1\r\nHost: a\n\r\n",
    "GET /f HTTP/1.1\r\nHost: a\r\n\n",
    "GET /f HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
    "GET /f HTTP/1.1\r\nHost: a\r\nX: b\r\n folded\r\n\r\n",
    "GET /f HTTP/1.1\r\n Host: a\r\nHost: a\r\n\r\n",
    "GET /f HTTP/1.1\r\nHost : a\r\n\r\n",
    "GET /f HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
    "GET /f HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n",
    "GET /f HTTP/1.1\r\nHost: a\r\nX y: z\r\n\r\n",
    "GET /f HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
    "GET /f HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n",
    "GET /f\0 HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /f HTTP/1.1\r\n\r\n",
    "GET /f HTTP/1.1\r\nX: y\r\n\r\n",
    "GET /f HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "GET /f HTTP/1.1\r\nHost: a\r\nX: y\r\nhost: b\r\n\r\n",
    "GET /f HTTP/1.1\r\nHost: a b\r\n\r\n",
    "GET /f HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "GET /f HTTP/1.1\r\nHost: a, b\r\n\r\n",
    "GET /f HTTP/1.1\r\nHost: user@a\r\n\r\n",
    "GET /f HTTP/1.1\r\nHost: a:port\r\n\r\n",
];

/// Requests with a malformed first line or body.
const MALFORMED: &[&str] = &[
    "GET /f\r\n\r\n",
    "GET\r\n\r\n",
    "GET  /f HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /f  HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /f HTTP/1.1 \r\nHost: a\r\n\r\n",
    "GET\t/f HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /f\tHTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    " GET /f HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /f HTTP/1.10\r\nHost: a\r\n\r\n",
    "GET /f http/1.1\r\nHost: a\r\n\r\n",
    "GET /f HTTP/x.y\r\nHost: a\r\n\r\n",
    "GET /f HTTPS/1.1\r\nHost: a\r\n\r\n",
    "G(T /f HTTP/1.1\r\nHost: a\r\n\r\n",
    "\r\n\r\n\r\n\r\n\r\nGET /f HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /f HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "POST /f HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n",
    "POST /f HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    "POST /f HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
    "POST /f HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n00000000000000001\r\na\r\n",
    // The beginning of a TLS 1.3 client hello.
    "\x16\x03\x01\x02\0\x01\0\x01\x7c\x03\x03",
    "\0\0\0\0",
];

fn refused() -> Vec<(Vec<u8>, u16)> {
    let bad = AMBIGUOUS.iter().chain(MALFORMED).map(|text| (text.as_bytes().to_vec(), 400));
    let many = "X: y\r\n".repeat(100);
    let long = "x".repeat(8 << 10);
    let odd = [
        ("GET /f HTTP/2.0\r\nHost: a\r\n\r\n".to_owned(), 505),
        ("GET /f HTTP/0.9\r\nHost: a\r\n\r\n".to_owned(), 505),
        (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414),
        (format!("GET /f?{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414),
        (format!("GET /f HTTP/1.1\r\nHost: a\r\nX: {long}{long}\r\n\r\n"), 431),
        (format!("GET /f HTTP/1.1\r\nHost: a\r\n{many}\r\n"), 431),
        (format!("{} /f HTTP/1.1\r\nHost: a\r\n\r\n", "M".repeat(33)), 501),
    ];
    let odd = odd.into_iter().map(|(text, status)| (text.into_bytes(), status));
    let raw = [
        (b"GET /f HTTP/1.1\r\nHost: a\r\nX\xff: y\r\n\r\n".to_vec(), 400),
        (b"GET /f HTTP/1.1\r\nHost: \xff\r\n\r\n".to_vec(), 400),
    ];
    bad.chain(odd).chain(raw).collect()
}

#[test]
fn invalid_requests_are_rejected_and_the_connection_closes() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("f"), "content").unwrap();
    for layout in layouts::sample() {
        let server = Server::start(layout, root.path());
        for (request, status) in refused() {
            let shown = request[..request.len().min(120)].escape_ascii();
            let mut client = server.connect();
            client.send([&request, SMUGGLED].concat());
            let response = client.response(false);
            assert_eq!(response.status, status, "{layout}, {shown}");
            assert_eq!(response.field("connection"), Some("close"), "{layout}, {shown}");
            assert_eq!(client.read_to_end(), b"", "{layout}, {shown}");
        }
        assert_eq!(server.get("/f").status, 200, "{layout}: it continues");
    }
}

#[test]
fn requests_at_the_limits_are_served() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("f"), "content").unwrap();
    let query = "x".repeat((8 << 10) - "/f?".len());
    let long = format!("X: {}\r\n", "y".repeat(15 << 10));
    for layout in layouts::sample() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        assert_eq!(client.get(&format!("/f?{query}")).status, 200, "{layout}");
        // A hundred fields including Host.
        assert_eq!(client.request("GET", "/f", &"X: y\r\n".repeat(99)).status, 200, "{layout}");
        assert_eq!(client.request("GET", "/f", &long).status, 200, "{layout}");
        client.send("\r\n\r\n\r\n\r\nGET /f HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(client.response(false).status, 200, "{layout}, empty lines in front");
        // White space around a value is not part of it, and bytes beyond ASCII are allowed there.
        let odd = "X:   \r\nY:\tü\t\r\nContent-Length: \t0 \r\n";
        assert_eq!(client.request("GET", "/f", odd).status, 200, "{layout}");
    }
}
