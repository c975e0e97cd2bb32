//! Parts of files: one range, several, joined, refused, and under a condition (RFC 9110 §14).

use std::ops::Range;

use crate::client::{Client, Response};
use crate::files::{pattern, write_dated};
use crate::layouts;
use crate::server::Server;

const SIZE: usize = 10_000;
const BIG: usize = 8 << 20;
const WRITTEN: &str = "Wed, 01 Jan 2020 00:00:00 GMT";

/// Creates a root with `f`, `big` and an `empty` file, all modified in 2020.
fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, size) in [("f", SIZE), ("big", BIG), ("empty", 0)] {
        write_dated(&root.path().join(name), pattern(size), 1_577_836_800);
    }
    root
}

fn ask(client: &mut Client, target: &str, range: &str) -> Response {
    client.request("GET", target, &format!("Range: {range}\r\n"))
}

/// Formats `bytes first-last/size`.
fn content_range(part: &Range<usize>, size: usize) -> String {
    format!("bytes {}-{}/{size}", part.start, part.end - 1)
}

fn assert_one(response: &Response, part: &Range<usize>, content: &[u8], what: &str) {
    assert_eq!(response.status, 206, "{what}");
    let expected = content_range(part, content.len());
    assert_eq!(response.field("content-range"), Some(&*expected), "{what}");
    assert_eq!(response.field("content-length"), Some(&*part.len().to_string()), "{what}");
    assert_eq!(response.field("content-type"), Some("application/octet-stream"), "{what}");
    assert!(response.body == content[part.clone()], "{what}: the bytes");
}

fn assert_whole(response: &Response, content: &[u8], what: &str) {
    assert_eq!(response.status, 200, "{what}");
    assert_eq!(response.field("content-range"), None, "{what}");
    assert!(response.body == content, "{what}: the bytes");
}

/// Parses a multipart response byte by byte: every part must be the expected one, with its own
/// fields, and no bytes may be before, between or after them.
fn assert_parts(response: &Response, parts: &[Range<usize>], content: &[u8], what: &str) {
    assert_eq!(response.status, 206, "{what}");
    assert_eq!(response.field("content-range"), None, "{what}");
    let content_type = response.field("content-type").unwrap();
    let boundary =
        content_type.strip_prefix("multipart/byteranges; boundary=").expect(content_type);
    let mut expected = Vec::new();
    for (place, part) in parts.iter().enumerate() {
        let line_break = if place == 0 { "" } else { "\r\n" };
        let range = content_range(part, content.len());
        let head = format!(
            "{line_break}--{boundary}\r\nContent-Type: application/octet-stream\r\n\
             Content-Range: {range}\r\n\r\n"
        );
        let at = expected.len();
        let found = response.body.get(at..at + head.len()).unwrap_or_default();
        assert_eq!(found.escape_ascii().to_string(), head.escape_default().to_string(), "{what}");
        expected.extend_from_slice(head.as_bytes());
        expected.extend_from_slice(&content[part.clone()]);
    }
    expected.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    assert!(response.body == expected, "{what}: the bytes");
    assert_eq!(response.field("content-length"), Some(&*expected.len().to_string()), "{what}");
}

#[test]
fn single_range_returns_its_bytes() {
    let (root, content) = (root(), pattern(SIZE));
    let cases = [
        ("0-0", 0..1),
        ("0-499", 0..500),
        ("4095-4096", 4095..4097),
        ("500-", 500..SIZE),
        ("9999-", 9999..SIZE),
        ("-1", 9999..SIZE),
        ("-500", 9500..SIZE),
        ("0-9999", 0..SIZE),
        ("0-", 0..SIZE),
        ("-10000", 0..SIZE),
        ("-99999999999999999999", 0..SIZE),
        ("9990-10005", 9990..SIZE),
        ("9990-18446744073709551615", 9990..SIZE),
        // An unsatisfiable range is left out of a set.
        ("1-2,10000-,-0", 1..3),
    ];
    for layout in layouts::all_with_vias() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        for (range, part) in &cases {
            let response = ask(&mut client, "/f", &format!("bytes={range}"));
            assert_one(&response, part, &content, &format!("{layout}, {range}"));
        }
    }
}

#[test]
fn several_ranges_are_parts_in_request_order() {
    let (root, content) = (root(), pattern(SIZE));
    let cases = [
        ("0-0,-1", vec![0..1, 9999..SIZE]),
        ("500-600, 0-99 ,9000-", vec![500..601, 0..100, 9000..SIZE]),
        ("1-2,,20000-,5-6", vec![1..3, 5..7]),
        ("0-1,10-11,20-21,30-31", vec![0..2, 10..12, 20..22, 30..32]),
    ];
    for layout in layouts::all_with_vias() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        for (ranges, parts) in &cases {
            let response = ask(&mut client, "/f", &format!("bytes={ranges}"));
            assert_parts(&response, parts, &content, &format!("{layout}, {ranges}"));
        }
    }
}

#[test]
fn overlapping_and_adjacent_ranges_are_joined() {
    let (root, content) = (root(), pattern(SIZE));
    let joined =
        [("0-9,5-19", 0..20), ("0-9,10-19", 0..20), ("5-,0-7", 0..SIZE), ("7-7,7-7", 7..8)];
    let parts = [
        ("100-199,0-9,150-299", vec![100..300, 0..10]),
        ("0-9,11-19", vec![0..10, 11..20]),
        ("20-29,0-9,10-10,-5", vec![20..30, 0..11, 9995..SIZE]),
    ];
    for layout in layouts::sample() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        for (ranges, part) in &joined {
            let response = ask(&mut client, "/f", &format!("bytes={ranges}"));
            assert_one(&response, part, &content, &format!("{layout}, {ranges}"));
        }
        for (ranges, parts) in &parts {
            let response = ask(&mut client, "/f", &format!("bytes={ranges}"));
            assert_parts(&response, parts, &content, &format!("{layout}, {ranges}"));
        }
    }
}

/// Returns this number of ranges of one byte with a gap after each.
fn scattered(count: usize) -> String {
    let ranges: Vec<_> = (0..count).map(|place| format!("{0}-{0}", place * 10)).collect();
    format!("bytes={}", ranges.join(","))
}

#[test]
fn malformed_or_hostile_ranges_return_the_whole_file() {
    let (root, content) = (root(), pattern(SIZE));
    let ignored = ["bytes=5-4", "bytes=a-", "bytes=", "bytes=,", "bytes=1", "bytes=-", "lines=0-1"];
    let ignored = ignored.map(str::to_owned).into_iter().chain([
        scattered(17),
        scattered(65),
        // With their part heads, these two would be longer than the file.
        "bytes=0-4990,4992-".to_owned(),
    ]);
    let ignored: Vec<_> = ignored.collect();
    let sixteen: Vec<_> = (0..16).map(|place| place * 10..place * 10 + 1).collect();
    for layout in layouts::sample() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        for range in &ignored {
            let response = ask(&mut client, "/f", range);
            assert_whole(&response, &content, &format!("{layout}, {range}"));
        }
        let response = ask(&mut client, "/f", &scattered(16));
        assert_parts(&response, &sixteen, &content, &format!("{layout}, sixteen"));
    }
}

#[test]
fn range_beyond_the_end_is_416() {
    let root = root();
    for layout in layouts::sample() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        for range in ["10000-", "10000-10000", "-0", "20000-30000,99999999999999999999-"] {
            let response = ask(&mut client, "/f", &format!("bytes={range}"));
            assert_eq!(response.status, 416, "{layout}, {range}");
            assert_eq!(response.field("content-range"), Some("bytes */10000"), "{layout}, {range}");
        }
    }
}

#[test]
fn range_of_an_empty_file_is_200() {
    let root = root();
    for layout in layouts::all_with_vias() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        for range in ["-1", "-5", "0-", "0-0", "5-", "0-99", "0-0,-1", "0-,5-", "-0", "9-1"] {
            for condition in ["", "If-Range: \"other\"\r\n"] {
                let fields = format!("Range: bytes={range}\r\n{condition}");
                for method in ["GET", "HEAD"] {
                    // On one connection: an extra byte would be taken for the next response.
                    let response = client.request(method, "/empty", &fields);
                    let what = format!("{layout}, {method} {range}, {condition:?}");
                    assert_whole(&response, b"", &what);
                    assert_eq!(response.field("content-length"), Some("0"), "{what}");
                    assert_eq!(response.field("accept-ranges"), Some("bytes"), "{what}");
                }
            }
            let mut old = server.connect();
            old.send(format!("GET /empty HTTP/1.0\r\nRange: bytes={range}\r\n\r\n"));
            let response = old.response(false);
            assert_whole(&response, b"", &format!("{layout}, HTTP/1.0, {range}"));
            assert!(old.is_closed(), "{layout}, {range}");
        }
    }
}

#[test]
fn if_range_decides_whether_a_range_applies() {
    let (root, content) = (root(), pattern(SIZE));
    for layout in layouts::sample() {
        // The date is old and the file is new, so it counts only with `--etag shared`.
        let server = Server::start_with(layout, root.path(), &["--log", "off", "--etag", "shared"]);
        let mut client = server.connect();
        let tag = client.wait_for_etag("/f");
        for (condition, holds) in [
            (&*tag, true),
            (&*format!("W/{tag}"), false),
            ("\"other\"", false),
            (&*format!("\"other\", {tag}"), false),
            (WRITTEN, true),
            ("Wed, 01 Jan 2020 00:00:01 GMT", false),
            ("Tue, 31 Dec 2019 23:59:59 GMT", false),
            ("yesterday", false),
        ] {
            let what = format!("{layout}, If-Range: {condition}");
            let fields = format!("Range: bytes=3-5\r\nIf-Range: {condition}\r\n");
            let response = client.request("GET", "/f", &fields);
            if holds {
                assert_one(&response, &(3..6), &content, &what);
            } else {
                assert_whole(&response, &content, &what);
            }
        }
    }
}

#[test]
fn head_ignores_ranges() {
    let root = root();
    for layout in layouts::sample() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        for range in ["bytes=0-9", "bytes=0-0,-1", "bytes=10000-"] {
            let response = client.request("HEAD", "/f", &format!("Range: {range}\r\n"));
            assert_eq!(response.status, 200, "{layout}, {range}");
            assert_eq!(response.field("content-length"), Some("10000"), "{layout}, {range}");
            assert_eq!(response.field("content-range"), None, "{layout}, {range}");
        }
    }
}

#[test]
fn every_via_sends_large_parts() {
    let (root, content) = (root(), pattern(BIG));
    let one = 1_234_567..7_654_321;
    let parts = [5_000_001..7_500_000, 4095..2_097_153, 3_000_000..3_000_001, BIG - 500_000..BIG];
    for layout in layouts::all_with_vias() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        let response = ask(&mut client, "/big", "bytes=1234567-7654320");
        assert_one(&response, &one, &content, &format!("{layout}, one"));
        let ranges = "bytes=5000001-7499999,4095-2097152,3000000-3000000,-500000";
        let response = ask(&mut client, "/big", ranges);
        assert_parts(&response, &parts, &content, &format!("{layout}, parts"));
        assert_whole(&client.get("/big"), &content, &format!("{layout}, whole"));
    }
}
