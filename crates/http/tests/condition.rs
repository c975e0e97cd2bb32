//! Preconditions, in the order of RFC 9110 §13.2.2.
#![expect(clippy::expect_used, reason = "a test stops where it fails")]

use karez_http::condition::Outcome::{self, NotModified, PreconditionFailed, Proceed};
use karez_http::condition::{evaluate, if_range};
use karez_http::{Decoder, EntityTag, Limits, Request, date};

const MODIFIED: u64 = 784_111_777;
const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

fn request(method: &str, fields: &str) -> Request {
    let mut decoder = Decoder::new(Limits::default());
    decoder.push(format!("{method} / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes());
    decoder.next().expect(fields).expect(fields)
}

/// The strong tag is `"100000000-5"`.
fn tag(weak: bool) -> EntityTag {
    EntityTag::new(5, 1, 0, weak, None)
}

fn outcomes(weak: bool, cases: &[(&str, Outcome)]) {
    for (fields, expected) in cases {
        let fields = fields.replace('~', "\"100000000-5\"");
        for method in ["GET", "HEAD"] {
            let outcome = evaluate(&request(method, &fields), &tag(weak), MODIFIED);
            assert_eq!(outcome, *expected, "{method} {fields}");
        }
        let options = evaluate(&request("OPTIONS", &fields), &tag(weak), MODIFIED);
        assert_eq!(options, Proceed, "{fields}");
    }
}

#[test]
fn tags() {
    assert_eq!(tag(false).as_str(), "\"100000000-5\"");
    outcomes(
        false,
        &[
            ("", Proceed),
            ("If-None-Match: ~\r\n", NotModified),
            ("If-None-Match: W/~\r\n", NotModified),
            ("If-None-Match: *\r\n", NotModified),
            ("If-None-Match: \"x\"\r\n", Proceed),
            ("If-None-Match: \"x,\", ~\r\n", NotModified),
            ("If-None-Match: \"x\"\r\nIf-None-Match: ~\r\n", NotModified),
            ("If-None-Match: \"x\"\r\nAccept: ~\r\nIf-None-Match: \"y\"\r\n", Proceed),
            ("If-None-Match: x, ~\r\n", NotModified),
            ("If-None-Match:\r\n", Proceed),
            ("If-Match: ~\r\n", Proceed),
            ("If-Match: *\r\n", Proceed),
            ("If-Match: W/~\r\n", PreconditionFailed),
            ("If-Match: \"x\"\r\n", PreconditionFailed),
            ("If-Match: \"x\"\r\nIf-Match: ~\r\n", Proceed),
            ("If-Match:\r\n", PreconditionFailed),
            ("If-Match: ~\r\nIf-None-Match: ~\r\n", NotModified),
            ("If-Match: \"x\"\r\nIf-None-Match: ~\r\n", PreconditionFailed),
        ],
    );
    outcomes(
        true,
        &[
            ("If-None-Match: ~\r\n", NotModified),
            ("If-None-Match: W/~\r\n", NotModified),
            ("If-Match: ~\r\n", PreconditionFailed),
            ("If-Match: W/~\r\n", PreconditionFailed),
            ("If-Match: *\r\n", Proceed),
        ],
    );
}

#[test]
fn dates() {
    for (fields, expected) in [
        (format!("If-Modified-Since: {BEFORE}\r\n"), Proceed),
        (format!("If-Modified-Since: {SAME}\r\n"), NotModified),
        (format!("If-Modified-Since: {AFTER}\r\n"), NotModified),
        ("If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT\r\n".into(), NotModified),
        ("If-Modified-Since: then\r\n".into(), Proceed),
        (format!("If-Modified-Since: {SAME}\r\nIf-Modified-Since: {SAME}\r\n"), Proceed),
        (format!("If-Unmodified-Since: {BEFORE}\r\n"), PreconditionFailed),
        (format!("If-Unmodified-Since: {SAME}\r\n"), Proceed),
        ("If-Unmodified-Since: then\r\n".into(), Proceed),
        (format!("If-Match: ~\r\nIf-Unmodified-Since: {BEFORE}\r\n"), Proceed),
        (format!("If-Match: \"x\"\r\nIf-Unmodified-Since: {SAME}\r\n"), PreconditionFailed),
        (format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {SAME}\r\n"), Proceed),
        (format!("If-None-Match: ~\r\nIf-Modified-Since: {BEFORE}\r\n"), NotModified),
        (format!("If-Unmodified-Since: {SAME}\r\nIf-Modified-Since: {SAME}\r\n"), NotModified),
        (format!("If-Unmodified-Since: {BEFORE}\r\nIf-None-Match: ~\r\n"), PreconditionFailed),
    ] {
        outcomes(false, &[(&fields, expected)]);
    }
}

#[test]
fn if_range_holds() {
    let strong = tag(false);
    for (value, expected) in [
        (strong.as_str(), true),
        ("W/\"100000000-5\"", false),
        ("\"x\"", false),
        ("100000000-5", false),
        ("\"100000000-5\", \"x\"", false),
        ("*", false),
        ("", false),
        (SAME, true),
        (BEFORE, false),
        (AFTER, false),
    ] {
        let request = request("GET", &format!("If-Range: {value}\r\n"));
        assert_eq!(if_range(&request, &strong, MODIFIED, MODIFIED + 60), expected, "{value}");
    }
    let weak = request("GET", "If-Range: W/\"100000000-5\"\r\n");
    assert!(!if_range(&weak, &tag(true), MODIFIED, MODIFIED + 60));
    let twice = request("GET", &format!("If-Range: {SAME}\r\nIf-Range: {SAME}\r\n"));
    assert!(!if_range(&twice, &strong, MODIFIED, MODIFIED + 60));
    assert!(if_range(&request("GET", ""), &strong, MODIFIED, MODIFIED));
}

#[test]
fn a_date_is_strong_only_a_second_later() {
    let request = request("GET", &format!("If-Range: {SAME}\r\n"));
    assert_eq!(date::format(MODIFIED), SAME.as_bytes());
    assert!(!if_range(&request, &tag(false), MODIFIED, MODIFIED - 1));
    assert!(!if_range(&request, &tag(false), MODIFIED, MODIFIED));
    assert!(if_range(&request, &tag(false), MODIFIED, MODIFIED + 1));
}
