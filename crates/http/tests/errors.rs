//! Errors and their statuses: one named case per rule of RFC 9112.
#![expect(clippy::expect_used, reason = "a test stops where it fails")]

mod discarding;

use discarding::{Discarding, Received};
use karez_http::{Limits, RequestError, Status};

/// Decodes the first request.
fn first(bytes: &[u8]) -> Result<Option<Received>, RequestError> {
    let mut decoder = Discarding::new(Limits::default());
    decoder.push(bytes);
    decoder.next()
}

/// Asserts that every text is an error with `status`, and that the decoder returns nothing more.
fn refused(status: Status, cases: &[(&str, &str)]) {
    for (name, text) in cases {
        let mut decoder = Discarding::new(Limits::default());
        decoder.push(text.as_bytes());
        let error = decoder.next().expect_err(name);
        assert_eq!(error.status, status, "{name}: {error:?}");
        assert!(!error.reason.is_empty(), "{name}");
        decoder.push(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(matches!(decoder.next(), Ok(None)), "{name}: returns more");
        assert!(decoder.is_empty(), "{name}: holds memory");
    }
}

fn taken(cases: &[(&str, &str)]) {
    for (name, text) in cases {
        let request = first(text.as_bytes());
        assert!(matches!(request, Ok(Some(_))), "{name}: {request:?}");
    }
}

#[test]
fn request_lines() {
    refused(
        Status::BadRequest,
        &[
            ("no version", "GET /\r\n\r\n"),
            ("no target", "GET\r\n\r\n"),
            ("two spaces after the method", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("two spaces after the target", "GET /  HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("a space at the end", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
            ("a space at the beginning", " GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("a space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("a tab for a space", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("a tab in the target", "GET /\t HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("NUL in the target", "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("DEL in the target", "GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("a method that is no token", "G@T / HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("lower case version", "GET / http/1.1\r\nHost: a\r\n\r\n"),
            ("two digits", "GET / HTTP/1.10\r\nHost: a\r\n\r\n"),
            ("ten", "GET / HTTP/10.1\r\nHost: a\r\n\r\n"),
            ("no minor version", "GET / HTTP/1\r\nHost: a\r\n\r\n"),
            ("another protocol", "GET / ICY/1.1\r\nHost: a\r\n\r\n"),
            ("a bare LF after it", "GET / HTTP/1.1\nHost: a\r\n\r\n"),
            ("a bare LF before it", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("a bare CR before it", "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("too many empty lines", "\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ],
    );
    taken(&[
        ("an empty line before it", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("beyond ASCII", "GET /\u{fc} HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("an unknown method", "BREW / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a later minor version", "GET / HTTP/1.9\r\nHost: a\r\n\r\n"),
    ]);
}

#[test]
fn versions() {
    refused(
        Status::VersionNotSupported,
        &[
            ("HTTP/0.9", "GET / HTTP/0.9\r\n\r\n"),
            ("HTTP/2.0", "GET / HTTP/2.0\r\n\r\n"),
            ("HTTP/3.0", "GET / HTTP/3.0\r\nHost: a\r\n\r\n"),
            ("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ],
    );
    let error = first(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect_err("HTTP/2");
    assert!(error.reason.contains("HTTP/2"));
    assert_eq!(error.request_line, b"PRI * HTTP/2.0");
}

#[test]
fn field_lines() {
    refused(
        Status::BadRequest,
        &[
            ("a bare LF", "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"),
            ("a bare LF at the end", "GET / HTTP/1.1\r\nHost: a\r\n\n"),
            ("a bare CR", "GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n"),
            ("CR CR LF", "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n"),
            ("folding", "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n"),
            ("folding with a tab", "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\tz\r\n\r\n"),
            ("a space before the first", "GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
            ("a space before the colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
            ("a tab before the colon", "GET / HTTP/1.1\r\nHost\t: a\r\n\r\n"),
            ("no colon", "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n"),
            ("no name", "GET / HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n"),
            ("a name that is no token", "GET / HTTP/1.1\r\nHost: a\r\nX(: y\r\n\r\n"),
            ("a name beyond ASCII", "GET / HTTP/1.1\r\nHost: a\r\n\u{fc}: y\r\n\r\n"),
            ("NUL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n"),
            ("a control byte in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\x01\r\n\r\n"),
            ("DEL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n"),
        ],
    );
    taken(&[
        ("a tab in a value", "GET / HTTP/1.1\r\nHost: a\r\nX:\ty\tz\t\r\n\r\n"),
        ("a value beyond ASCII", "GET / HTTP/1.1\r\nHost: a\r\nX: \u{fc}\r\n\r\n"),
        ("an empty value", "GET / HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n"),
        ("no space after the colon", "GET / HTTP/1.1\r\nHost:a\r\n\r\n"),
    ]);
}

#[test]
fn hosts() {
    refused(
        Status::BadRequest,
        &[
            ("none", "GET / HTTP/1.1\r\nX: y\r\n\r\n"),
            ("no field at all", "GET / HTTP/1.1\r\n\r\n"),
            ("two", "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n"),
            ("two in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"),
            ("two that are empty", "GET / HTTP/1.1\r\nHost:\r\nHost:\r\n\r\n"),
            ("a space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
            ("a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
            ("user information", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"),
            ("a list", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
            ("invalid in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a/b\r\n\r\n"),
        ],
    );
    taken(&[
        ("an empty one", "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
        ("with a port", "GET / HTTP/1.1\r\nHost: a:80\r\n\r\n"),
        ("an IPv6 address", "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"),
        ("none in HTTP/1.0", "GET / HTTP/1.0\r\n\r\n"),
    ]);
}

#[test]
fn framing() {
    let post = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n0\r\n\r\n");
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: chunked;a=b",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding:",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding:\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5, 5",
        "Content-Length: 5,",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length: 5a",
        "Content-Length:",
        "Content-Length: 18446744073709551616",
    ] {
        refused(Status::BadRequest, &[(fields, &post(fields))]);
    }
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    refused(Status::BadRequest, &[("a transfer coding in HTTP/1.0", old)]);
    taken(&[("chunked in any case", &post("transfer-encoding: CHUNKED"))]);
}

/// A request with a chunked body.
fn chunked(body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
}

#[test]
fn chunks() {
    for text in [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhelloxx0\r\n\r\n",
        "5\r\nhello\r\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        ";a\r\nhello\r\n0\r\n\r\n",
        "g\r\n",
        "00000000000000005\r\nhello\r\n0\r\n\r\n",
        "5;a\nhello\r\n0\r\n\r\n",
        "5;a\rhello\r\n0\r\n\r\n",
        "5;a\0\r\nhello\r\n0\r\n\r\n",
        "5;a\x7f\r\nhello\r\n0\r\n\r\n",
        &format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(2000)),
        &format!("5{}", " ".repeat(2000)),
    ] {
        refused(Status::BadRequest, &[(text, &chunked(text))]);
    }
}

#[test]
fn trailers() {
    for text in [
        "0\r\n\n",
        "0\n\n",
        "0\r\nX y\r\n\r\n",
        "0\r\nX : y\r\n\r\n",
        "0\r\n X: y\r\n\r\n",
        "0\r\nX: y\r\n z\r\n\r\n",
        "0\r\nX: y\n\r\n",
        "0\r\nX: y\rz\r\n\r\n",
        "0\r\nX: \0\r\n\r\n",
        "0\r\n: y\r\n\r\n",
        "0\r\nX\r\n\r\n",
    ] {
        refused(Status::BadRequest, &[(text, &chunked(text))]);
    }
}

#[test]
fn valid_chunked_bodies() {
    for text in [
        "0\r\n\r\n",
        "000\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
        "5;a=b\r\nhello\r\n0\r\n\r\n",
        "5 ; a = \"b;c\"\r\nhello\r\n0;x\r\n\r\n",
        "0000000000000005\r\nhello\r\n0\r\n\r\n",
        "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
        "0\r\nX: y\r\nZ:\r\n\r\n",
    ] {
        let request = first(chunked(text).as_bytes()).expect(text).expect(text);
        assert!(request.persistent(), "{text}");
    }
}

#[test]
fn limits() {
    let long = "a".repeat(8 * 1024);
    let many = |count: usize| "X: y\r\n".repeat(count);
    let large = format!("X: {}\r\n", "y".repeat(4096)).repeat(4);
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
    refused(
        Status::UriTooLong,
        &[
            ("a target that is too long", &format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n")),
            ("and not even complete", &format!("GET /{long}")),
        ],
    );
    refused(
        Status::FieldsTooLarge,
        &[
            ("a head that is too large", &format!("GET / HTTP/1.1\r\nHost: a\r\n{large}\r\n")),
            ("and not even complete", &format!("GET / HTTP/1.1\r\nHost: a\r\n{large}")),
            ("too many fields", &format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", many(100))),
            ("and not even complete", &format!("GET / HTTP/1.1\r\nHost: a\r\n{}", many(100))),
            ("trailers that are too large", &format!("{chunked}{large}\r\n")),
            ("too many trailers", &format!("{chunked}{}\r\n", many(101))),
        ],
    );
    refused(Status::NotImplemented, &[("a method without end", &long)]);
    taken(&[
        ("the longest target", &format!("GET {long} HTTP/1.1\r\nHost: a\r\n\r\n")),
        ("many fields", &format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", many(99))),
        ("many trailers", &format!("{chunked}{}\r\n", many(100))),
    ]);
}

#[test]
fn the_largest_head() {
    let head = |pad: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(pad));
    let largest = 16 * 1024 - head(0).len();
    taken(&[("one that just fits", &head(largest))]);
    refused(Status::FieldsTooLarge, &[("one byte more", &head(largest + 1))]);
}

#[test]
fn other_protocols_are_rejected_at_the_first_wrong_byte() {
    for (name, bytes) in [
        ("a TLS hello", &b"\x16\x03\x01\x02"[..]),
        ("SOCKS", b"\x05\x01\x00"),
        ("SSH", b"SSH-2.0-OpenSSH_9.6\r"),
        ("a control byte in the method", b"GE\x01"),
        ("a version that is none", b"GET / HTTPS"),
        ("a target that does not end", b"GET /\r"),
    ] {
        let error = first(bytes).expect_err(name);
        assert_eq!(error.status, Status::BadRequest, "{name}");
    }
    assert!(first(b"\x16").expect_err("TLS").reason.contains("TLS"));
}

#[test]
fn errors_have_the_request_line_as_far_as_received() {
    for (bytes, line) in [
        (&b"GET /a HTTP/1.1\r\nX : y\r\n\r\n"[..], &b"GET /a HTTP/1.1"[..]),
        (b"GET /a\x01b", b"GET /a\x01b"),
        (b"\r\nGET /a HTTP/1.1\n", b"GET /a HTTP/1.1"),
        // The head has been returned.
        (b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx", b""),
    ] {
        assert_eq!(first(bytes).expect_err("bad").request_line, line);
    }
    let long = first(&[b'x'; 20_000]).expect_err("bad");
    assert_eq!(long.request_line.len(), 8 * 1024);
}
