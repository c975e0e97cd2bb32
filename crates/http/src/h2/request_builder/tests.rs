//! Requests, good and malformed (RFC 9113 §8).

use super::{Built, RequestBuilder, TrailerCheck};
use crate::field::Field;
use crate::h2::error::ErrorCode;
use crate::h2::limits::ConnectionLimits;
use crate::h2::priority::Priority;
use crate::method::Method;
use crate::request::Request;
use crate::status::Status;

type Pairs<'a> = &'a [(&'a str, &'a str)];

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", "a.example:8080"), (":path", "/x?y")];

fn build(fields: Pairs<'_>) -> Built {
    let mut builder = RequestBuilder::new(&ConnectionLimits::default());
    for (name, value) in fields {
        builder.push(name.as_bytes(), value.as_bytes()).unwrap();
    }
    builder.finish()
}

fn request(fields: Pairs<'_>) -> Request {
    match build(fields) {
        Built::Request { head, .. } => head,
        other => panic!("{other:?}"),
    }
}

fn malformed(fields: Pairs<'_>) -> &'static str {
    match build(fields) {
        Built::Malformed(error) => {
            assert_eq!(error.status, Status::BadRequest);
            error.reason
        }
        other => panic!("{fields:?}: {other:?}"),
    }
}

#[test]
fn a_malformed_request_has_its_line_as_far_as_it_is_known() {
    for (fields, line) in [
        (&with(&[("te", "gzip")])[..], "GET /x?y HTTP/2.0"),
        (&[(":method", "GET"), (":path", "/x"), (":path", "/y")], "GET /x HTTP/2.0"),
        (&[(":method", "GET")], "GET  HTTP/2.0"),
        (&[("Upper", "x")], "  HTTP/2.0"),
    ] {
        let Built::Malformed(error) = build(fields) else { panic!("{fields:?}") };
        assert_eq!(error.request_line, line.as_bytes());
    }
}

fn with<'a>(more: Pairs<'a>) -> Vec<(&'a str, &'a str)> {
    [&GET, more].concat()
}

#[test]
fn a_request_reads_like_one_of_http_1_1() {
    let request = request(&with(&[
        ("cookie", "a=b"),
        ("accept", "x"),
        ("te", "Trailers"),
        ("cookie", "c=d"),
        ("accept", "y"),
        ("x-empty", ""),
        ("cookie", "e=f"),
    ]));
    assert_eq!(request.method(), Method::Get);
    assert_eq!(request.target(), b"/x?y");
    assert!(!request.expects_continue());
    assert_eq!(request.request_line(), b"GET /x?y HTTP/2.0");
    assert_eq!(request.value(Field::Host), Some(&b"a.example:8080"[..]));
    assert_eq!(request.value(Field::Range), None);
    assert!(request.values(Field::Accept).eq([b"x", b"y"]));
    assert_eq!(request.values(Field::Range).count(), 0);
    let fields: Vec<_> = request.fields().collect();
    let expected: &[(&[u8], &[u8])] = &[
        (b"host", b"a.example:8080"),
        (b"accept", b"x"),
        (b"te", b"Trailers"),
        (b"accept", b"y"),
        (b"x-empty", b""),
        (b"cookie", b"a=b; c=d; e=f"),
    ];
    assert_eq!(fields, expected);
}

#[test]
fn a_client_may_wait_for_100_continue() {
    let request = request(&with(&[("expect", "100-Continue")]));
    assert!(request.expects_continue());
}

#[test]
fn a_request_without_fields_has_its_host() {
    let request = request(&GET);
    assert_eq!(request.value(Field::Host), Some(&b"a.example:8080"[..]));
    assert_eq!(request.fields().count(), 1);
}

#[test]
fn host_stands_in_for_the_authority_or_agrees() {
    let without: Vec<_> = GET.iter().filter(|field| field.0 != ":authority").copied().collect();
    let of_host = request(&[&without[..], &[("host", "b")]].concat());
    assert_eq!(of_host.value(Field::Host), Some(&b"b"[..]));
    let both = request(&with(&[("host", "A.Example:8080")]));
    assert!(both.values(Field::Host).eq([b"a.example:8080"]));
    malformed(&with(&[("host", "b")]));
    malformed(&with(&[("host", "a.example:8080"), ("host", "a.example:8080")]));
    malformed(&[&without[..], &[("host", "user@b")]].concat());
    let Built::Rejected(error) = build(&without) else {
        panic!("a request without a host");
    };
    assert_eq!((error.status.code(), &error.request_line[..]), (400, &b"GET /x?y HTTP/2.0"[..]));
}

#[test]
fn pseudo_header_fields_are_checked() {
    for missing in [0, 1, 3] {
        let mut fields = GET.to_vec();
        fields.remove(missing);
        malformed(&fields);
        fields.push(("accept", "x"));
        malformed(&fields);
    }
    for twice in GET {
        malformed(&with(&[twice]));
    }
    for (place, value) in [
        (0, ""),
        (0, "G T"),
        (1, ""),
        (1, "h:"),
        (2, ""),
        (2, "user@a"),
        (2, "a b"),
        (3, ""),
        (3, "x"),
        (3, "*"),
        (3, "/a b"),
        (3, "/a\r\nb"),
        (3, "/\0"),
        (3, "http://a/"),
    ] {
        let mut fields = GET;
        fields[place].1 = value;
        malformed(&fields);
    }
    malformed(&with(&[(":status", "200")]));
    malformed(&with(&[(":protocol", "websocket")]));
    malformed(&with(&[(":", "")]));
    malformed(&[&[("accept", "x")], &GET[..]].concat());
    malformed(&[&GET[..3], &[("accept", "x"), GET[3]]].concat());
    malformed(&[]);
}

#[test]
fn options_and_connect_have_targets_of_their_own() {
    let mut options = GET;
    options[0].1 = "OPTIONS";
    options[3].1 = "*";
    assert_eq!(request(&options).target(), b"*");
    let connect = [(":method", "CONNECT"), (":authority", "a:1")];
    assert_eq!(request(&connect).target(), b"a:1");
    malformed(&connect[..1]);
    let mut with_path = GET;
    with_path[0].1 = "CONNECT";
    malformed(&with_path);
}

#[test]
fn fields_are_checked() {
    for (name, value) in [
        ("Accept", "x"),
        ("", "x"),
        ("a b", "x"),
        ("a:b", "x"),
        ("a\u{e9}", "x"),
        ("x", " y"),
        ("x", "y\t"),
        ("x", "a\rb"),
        ("x", "a\nb"),
        ("x", "a\0b"),
        ("x", "a\u{7f}"),
        ("connection", "close"),
        ("proxy-connection", "x"),
        ("keep-alive", "x"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("te", "trailers, gzip"),
        ("content-length", "x"),
        ("content-length", "-1"),
        ("content-length", "1, 1"),
        ("content-length", ""),
    ] {
        malformed(&with(&[(name, value)]));
    }
    malformed(&with(&[("content-length", "1"), ("content-length", "1")]));
    request(&with(&[("x", "b\u{fc}cher \t tab"), ("x-y_z", "")]));
}

#[test]
fn content_length_and_priority_are_taken() {
    let fields = [("content-length", "12"), ("priority", "u=5"), ("priority", "i")];
    let Built::Request { content_length, priority, .. } = build(&with(&fields)) else {
        panic!("it is valid");
    };
    assert_eq!(content_length, Some(12));
    assert_eq!(priority, Some(Priority { urgency: 5, incremental: true }));
}

#[test]
fn large_heads_are_rejected_and_larger_ones_are_attacks() {
    let status = |fields: Pairs<'_>| match build(fields) {
        Built::Rejected(error) => error.status.code(),
        other => panic!("{other:?}"),
    };
    let long = "v".repeat(8_000);
    assert_eq!(status(&with(&[("a", &long), ("b", &long), ("c", &long)])), 431);
    assert_eq!(status(&with(&[("a", "b"); 97])), 431, "too many fields");
    request(&with(&[("a", "b"); 96]));
    let mut fields = GET;
    let path = format!("/{}", "p".repeat(8192));
    fields[3].1 = &path;
    assert_eq!(status(&fields), 414);

    let mut builder = RequestBuilder::new(&ConnectionLimits::default());
    let mut pushed = (0..20).map(|_| builder.push(b"a", long.as_bytes()));
    let error = pushed.find_map(Result::err).unwrap();
    assert_eq!(error.code, ErrorCode::ENHANCE_YOUR_CALM);
}

#[test]
fn trailers_are_checked() {
    let check = |name: &str, value: &str| {
        let mut check = TrailerCheck::new(&ConnectionLimits::default());
        check.push(name.as_bytes(), value.as_bytes()).unwrap();
        check.finish()
    };
    assert_eq!(check("x-checksum", "5"), None);
    assert!(check(":path", "/").is_some());
    assert!(check("X", "y").is_some());
    assert!(check("connection", "close").is_some());
    assert!(check("a", &"v".repeat(17_000)).is_some());
}
