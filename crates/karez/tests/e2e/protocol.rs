//! HTTP/1 connections: requests in sequence, pipelined or in pieces, with and without bodies, of
//! both versions, and the fields of every response (RFC 9112).

use std::fs;

use crate::client::{Client, Response};
use crate::files::pattern;
use crate::layouts;
use crate::server::Server;

/// A root with files `0` to `count - 1`, each with its name as content, except for a large one.
fn root(count: usize) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for number in 0..count {
        fs::write(root.path().join(number.to_string()), content(number)).unwrap();
    }
    root
}

/// The file in the middle of 50 does not fit into a socket buffer.
fn content(number: usize) -> Vec<u8> {
    if number == 25 { pattern(4 << 20) } else { format!("file {number}").into_bytes() }
}

fn assert_file(response: &Response, number: usize, what: &str) {
    assert_eq!(response.status, 200, "{what}");
    assert!(response.body == content(number), "{what}, file {number}");
}

#[test]
fn connection_carries_many_requests() {
    let root = root(3);
    for layout in layouts::all_with_vias() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        for number in [0, 1, 2, 0, 1, 2] {
            let response = client.get(&format!("/{number}"));
            assert_file(&response, number, &layout.to_string());
            assert_eq!(response.field("connection"), None, "{layout}");
        }
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let root = root(50);
    let order: Vec<_> = (0..50).map(|place| place * 7 % 50).collect();
    let request = |number: &usize| format!("GET /{number} HTTP/1.1\r\nHost: test\r\n\r\n");
    let requests: String = order.iter().map(request).collect();
    for layout in layouts::all_with_vias() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        client.send(&requests);
        for &number in &order {
            assert_file(&client.response(false), number, &layout.to_string());
        }
        client.half_close();
        assert!(client.read_to_end().is_empty(), "{layout}");
    }
}

#[test]
fn requests_may_arrive_byte_by_byte() {
    let root = root(2);
    for layout in layouts::sample() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        client.stream.get_ref().set_nodelay(true).unwrap();
        let requests = "GET /1 HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc\
                        GET /0 HTTP/1.1\r\nHost: test\r\n\r\n";
        for byte in requests.bytes() {
            client.send([byte]);
        }
        assert_file(&client.response(false), 1, &layout.to_string());
        assert_file(&client.response(false), 0, &layout.to_string());
    }
}

#[test]
fn each_version_keeps_and_closes_its_connections() {
    let root = root(1);
    // Version, field, the `Connection` field of the response, and whether the connection closes.
    let cases = [
        ("1.1", "", None, false),
        ("1.1", "Connection: keep-alive\r\n", None, false),
        ("1.1", "Connection: close\r\n", Some("close"), true),
        ("1.1", "Connection: keep-alive, Close\r\n", Some("close"), true),
        ("1.0", "", Some("close"), true),
        ("1.0", "Connection: close\r\n", Some("close"), true),
        ("1.0", "Connection: Keep-Alive\r\n", Some("keep-alive"), false),
        ("1.9", "", None, false),
    ];
    for layout in layouts::sample() {
        let server = Server::start(layout, root.path());
        for (version, field, connection, closes) in cases {
            let what = format!("{layout}, {version} {field:?}");
            let mut client = server.connect();
            client.send(format!("GET /0 HTTP/{version}\r\nHost: test\r\n{field}\r\n"));
            let response = client.response(false);
            assert_file(&response, 0, &what);
            assert_eq!(response.field("connection"), connection, "{what}");
            if closes {
                assert!(client.is_closed(), "{what}");
            } else {
                assert_file(&client.get("/0"), 0, &what);
            }
        }
        let mut client = server.connect();
        client.send("GET /0 HTTP/1.0\r\n\r\n");
        assert_file(&client.response(false), 0, &format!("{layout}, no Host in 1.0"));
    }
}

#[test]
fn half_closed_client_receives_its_response() {
    let root = root(26);
    for layout in layouts::all_with_vias() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        client.send("GET /25 HTTP/1.1\r\nHost: test\r\n\r\n");
        client.half_close();
        assert_file(&client.response(false), 25, &layout.to_string());
        assert!(client.is_closed(), "{layout}");
    }
}

#[test]
fn absolute_form_targets_are_accepted() {
    let root = root(1);
    for layout in layouts::sample() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        for target in ["http://test/0", "HTTP://other:80/0?query", "https://[::1]/0"] {
            assert_file(&client.get(target), 0, &format!("{layout}, {target}"));
        }
        assert_eq!(client.get("http://test").status, 200, "{layout}: the root");
        for target in ["http:///0", "http://user@test/0", "ftp://test/0", "0"] {
            assert_eq!(client.get(target).status, 400, "{layout}, {target}");
        }
    }
}

#[test]
fn asterisk_form_is_options_only() {
    let root = root(1);
    for layout in layouts::sample() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        for method in ["GET", "HEAD"] {
            assert_eq!(client.request(method, "*", "").status, 400, "{layout}, {method} *");
        }
    }
}

#[test]
fn other_methods_are_405_or_501() {
    let root = root(1);
    for layout in layouts::sample() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        for target in ["/0", "/none", "*"] {
            let response = client.request("OPTIONS", target, "");
            assert_eq!(response.status, 204, "{layout}, OPTIONS {target}");
            assert_eq!(response.field("allow"), Some("GET, HEAD, OPTIONS"), "{layout}");
            assert_eq!(response.field("content-length"), None, "{layout}, RFC 9110 §8.6");
        }
        for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE"] {
            let response = client.request(method, "/0", "");
            assert_eq!(response.status, 405, "{layout}, {method}");
            assert_eq!(response.field("allow"), Some("GET, HEAD, OPTIONS"), "{layout}, {method}");
        }
        assert_eq!(client.request("CONNECT", "test:80", "").status, 405, "{layout}, CONNECT");
        for method in ["BREW", "get"] {
            assert_eq!(client.request(method, "/0", "").status, 501, "{layout}, {method}");
        }
    }
}

const LENGTHY: &str = "Content-Length: 300000\r\n";
const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

/// `300000` bytes in three chunks, with an extension and a trailer.
fn chunks() -> String {
    let chunk = "x".repeat(100_000);
    format!(
        "186A0\r\n{chunk}\r\n000186a0;name=\"value\"\r\n{chunk}\r\n186A0\r\n{chunk}\r\n\
         0\r\nTrailer: value\r\n\r\n"
    )
}

#[test]
fn request_body_is_discarded_before_the_next_request() {
    let root = root(2);
    let bodies = [(LENGTHY, "y".repeat(300_000)), (CHUNKED, chunks()), ("", String::new())];
    for layout in layouts::sample() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        for (method, status) in [("POST", 405), ("BREW", 501), ("GET", 200), ("OPTIONS", 204)] {
            for (field, body) in &bodies {
                let what = format!("{layout}, {method}, {field:?}");
                let next = "GET /1 HTTP/1.1\r\nHost: test\r\n\r\n";
                let head = format!("{method} /0 HTTP/1.1\r\nHost: test\r\n{field}\r\n");
                client.send(format!("{head}{body}{next}"));
                assert_eq!(client.response(false).status, status, "{what}");
                assert_file(&client.response(false), 1, &what);
            }
        }
    }
}

#[test]
fn oversized_request_body_closes_the_connection() {
    let root = root(1);
    let heads = [
        "Content-Length: 10000000000\r\n\r\nbegin",
        "Transfer-Encoding: chunked\r\n\r\n7fffffff\r\n",
    ];
    for layout in layouts::sample() {
        let server = Server::start(layout, root.path());
        for head in heads {
            let mut client = server.connect();
            client.send(format!("POST /0 HTTP/1.1\r\nHost: test\r\n{head}"));
            assert_closing(&mut client, 405, &format!("{layout}, {head:?}"));
        }
    }
}

#[test]
fn expect_100_continue_is_answered_at_once() {
    let root = root(1);
    let fields = "Expect: 100-continue\r\nContent-Length: 5\r\n";
    for layout in layouts::sample() {
        let server = Server::start(layout, root.path());
        for (method, status) in [("POST", 405), ("GET", 200)] {
            let mut client = server.connect();
            client.send(format!("{method} /0 HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
            assert_closing(&mut client, status, &format!("{layout}, {method}"));
        }
    }
}

/// Expects one response with `Connection: close`, and then the end.
fn assert_closing(client: &mut Client, status: u16, what: &str) {
    let response = client.response(false);
    assert_eq!(response.status, status, "{what}");
    assert_eq!(response.field("connection"), Some("close"), "{what}");
    assert!(client.is_closed(), "{what}");
}

#[test]
fn error_after_good_requests_is_answered_last() {
    let root = root(2);
    let good = |number| format!("GET /{number} HTTP/1.1\r\nHost: test\r\n\r\n");
    for layout in layouts::sample() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        client.send(format!("{}{}GET /0 HTTP/1.1\r\n\r\n{}", good(0), good(1), good(0)));
        assert_file(&client.response(false), 0, &layout.to_string());
        assert_file(&client.response(false), 1, &layout.to_string());
        assert_closing(&mut client, 400, &layout.to_string());
    }
}

#[test]
fn every_response_has_its_fields() {
    let root = root(1);
    fs::create_dir(root.path().join("d")).unwrap();
    let asked = [
        ("GET", "/0", "", 200),
        ("HEAD", "/0", "", 200),
        ("GET", "/", "", 200),
        ("OPTIONS", "*", "", 204),
        ("GET", "/0", "Range: bytes=1-2\r\n", 206),
        ("GET", "/0", "If-None-Match: *\r\n", 304),
        ("GET", "/d", "", 308),
        ("GET", "/%00", "", 400),
        ("GET", "/none", "", 404),
        ("POST", "/0", "", 405),
        ("GET", "/0", "If-Match: \"x\"\r\n", 412),
        ("GET", "/0", "Range: bytes=99-\r\n", 416),
        ("BREW", "/0", "", 501),
        ("GET", "/0", "Host: two\r\n", 400),
    ];
    for layout in layouts::sample() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        for (method, target, fields, status) in asked {
            let what = format!("{layout}, {method} {target} {fields:?}");
            let response = client.request(method, target, fields);
            assert_eq!(response.status, status, "{what}");
            assert_eq!(response.field("server"), Some("karez"), "{what}");
            assert_eq!(response.field("x-content-type-options"), Some("nosniff"), "{what}");
            assert_date(response.field("date").expect(&what), &what);
        }
    }
}

/// `Mon, 23 Nov 2026 10:29:31 GMT`
fn assert_date(date: &str, what: &str) {
    let form: String = date.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let (weekday, rest) = form.split_at(3);
    assert!("Mon Tue Wed Thu Fri Sat Sun".contains(weekday), "{what}: {date}");
    assert!(rest.starts_with(", 00 ") && rest.ends_with(" 0000 00:00:00 GMT"), "{what}: {date}");
    assert_eq!(date.len(), 29, "{what}: {date}");
}
