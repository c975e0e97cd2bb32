//! Preconditions, in the order of RFC 9110 §13.2.2.
#![expect(clippy::expect_used, reason = "a test stops where it fails")]

mod discarding;

use discarding::Discarding;
use karez_http::condition::Precondition::{self, NotModified, PreconditionFailed, Proceed};
use karez_http::condition::{evaluate, if_range};
use karez_http::{Dates, EntityTag, Limits, Request, Timestamp, Validators, date};

const MODIFIED: u64 = 784_111_777;
const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

fn request(method: &str, fields: &str) -> Request {
    let mut decoder = Discarding::new(Limits::default());
    decoder.push(format!("{method} / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes());
    decoder.next().expect(fields).expect(fields).into_request()
}

/// `"100000000-5"`.
fn tag() -> EntityTag {
    EntityTag::shared(5, Timestamp { seconds: 1, nanoseconds: 0 }, None)
}

/// Those of a file that was not touched since it was modified, a minute ago.
fn validators(etag: &EntityTag) -> Validators<'_> {
    Validators {
        etag: Some(etag),
        modified: Some(MODIFIED),
        changed: MODIFIED,
        dates: Dates::Exact,
        now: MODIFIED + 60,
    }
}

fn outcomes(validators: &Validators<'_>, cases: &[(&str, Precondition)]) {
    for (fields, expected) in cases {
        let fields = fields.replace('~', "\"100000000-5\"");
        for method in ["GET", "HEAD"] {
            let outcome = evaluate(&request(method, &fields), validators);
            assert_eq!(outcome, *expected, "{method} {fields}, {validators:?}");
        }
        let options = evaluate(&request("OPTIONS", &fields), validators);
        assert_eq!(options, Proceed, "{fields}");
    }
}

#[test]
fn tags() {
    let tag = tag();
    assert_eq!(tag.as_str(), "\"100000000-5\"");
    outcomes(
        &validators(&tag),
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
    // Without a tag there is something, but nothing that it could be known by.
    outcomes(
        &Validators { etag: None, ..validators(&tag) },
        &[
            ("If-None-Match: ~\r\n", Proceed),
            ("If-None-Match: W/~\r\n", Proceed),
            ("If-None-Match: *\r\n", NotModified),
            ("If-Match: ~\r\n", PreconditionFailed),
            ("If-Match: W/~\r\n", PreconditionFailed),
            ("If-Match: *\r\n", Proceed),
        ],
    );
}

/// Field lines, and their results with exact and with other comparison of dates.
const DATES: &[(&str, Precondition, Precondition)] = &[
    ("If-Modified-Since: BEFORE\r\n", Proceed, Proceed),
    ("If-Modified-Since: SAME\r\n", NotModified, NotModified),
    ("If-Modified-Since: AFTER\r\n", Proceed, NotModified),
    ("If-Modified-Since: LATE\r\n", Proceed, NotModified),
    ("If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT\r\n", NotModified, NotModified),
    ("If-Modified-Since: then\r\n", Proceed, Proceed),
    ("If-Modified-Since: SAME\r\nIf-Modified-Since: SAME\r\n", Proceed, Proceed),
    ("If-Unmodified-Since: BEFORE\r\n", PreconditionFailed, PreconditionFailed),
    ("If-Unmodified-Since: SAME\r\n", Proceed, Proceed),
    ("If-Unmodified-Since: AFTER\r\n", Proceed, Proceed),
    ("If-Unmodified-Since: LATE\r\n", Proceed, Proceed),
    ("If-Unmodified-Since: then\r\n", Proceed, Proceed),
    ("If-Match: ~\r\nIf-Unmodified-Since: BEFORE\r\n", Proceed, Proceed),
    ("If-Match: \"x\"\r\nIf-Unmodified-Since: SAME\r\n", PreconditionFailed, PreconditionFailed),
    ("If-None-Match: \"x\"\r\nIf-Modified-Since: SAME\r\n", Proceed, Proceed),
    ("If-None-Match: ~\r\nIf-Modified-Since: BEFORE\r\n", NotModified, NotModified),
    ("If-Unmodified-Since: SAME\r\nIf-Modified-Since: SAME\r\n", NotModified, NotModified),
    ("If-Unmodified-Since: BEFORE\r\nIf-None-Match: ~\r\n", PreconditionFailed, PreconditionFailed),
];

fn dated(fields: &str) -> String {
    let late = date::format(MODIFIED + 86_400);
    let late = std::str::from_utf8(&late).expect("ASCII");
    let named = [("BEFORE", BEFORE), ("SAME", SAME), ("AFTER", AFTER), ("LATE", late)];
    named.iter().fold(fields.to_owned(), |fields, (name, date)| fields.replace(name, date))
}

#[test]
fn dates() {
    let tag = tag();
    for (fields, exact, not_later) in DATES {
        let fields = dated(fields);
        let validators = validators(&tag);
        outcomes(&validators, &[(&fields, *exact)]);
        let validators = Validators { dates: Dates::NotLater, ..validators };
        outcomes(&validators, &[(&fields, *not_later)]);
    }
}

#[test]
fn a_date_does_not_validate_a_later_change() {
    let tag = tag();
    let unknown: Vec<_> = ["SAME", "AFTER"]
        .iter()
        .flat_map(|date| {
            [
                (dated(&format!("If-Modified-Since: {date}\r\n")), Proceed),
                (dated(&format!("If-Unmodified-Since: {date}\r\n")), PreconditionFailed),
            ]
        })
        .collect();
    let unknown: Vec<_> = unknown.iter().map(|(fields, outcome)| (&**fields, *outcome)).collect();
    let fresh = validators(&tag);
    for dates in [Dates::Exact, Dates::NotLater] {
        for case in [
            // A change of the inode, such as another content under an old date.
            Validators { changed: MODIFIED + 2, ..fresh },
            // It may still change without its date.
            Validators { changed: u64::MAX, ..fresh },
            // The second is not over, or has just ended, or the clock was set back.
            Validators { now: MODIFIED, ..fresh },
            Validators { now: MODIFIED + 1, ..fresh },
            Validators { now: MODIFIED - 9, ..fresh },
        ] {
            let case = Validators { dates, ..case };
            outcomes(&case, &unknown);
            let range = request("GET", &format!("If-Range: {SAME}\r\n"));
            assert!(!if_range(&range, &case), "{case:?}");
            // The tag does not care.
            outcomes(&case, &[("If-None-Match: ~\r\n", NotModified)]);
        }
        // Without a date there is none to be compared.
        let undated = Validators { modified: None, dates, ..fresh };
        for date in ["BEFORE", "SAME", "AFTER"] {
            outcomes(&undated, &[(&dated(&format!("If-Modified-Since: {date}\r\n")), Proceed)]);
            outcomes(&undated, &[(&dated(&format!("If-Unmodified-Since: {date}\r\n")), Proceed)]);
        }
        let range = request("GET", &format!("If-Range: {SAME}\r\n"));
        assert!(!if_range(&range, &undated));
    }
}

#[test]
fn if_range_holds() {
    let strong = tag();
    let held = validators(&strong);
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
        for dates in [Dates::Exact, Dates::NotLater] {
            assert_eq!(if_range(&request, &Validators { dates, ..held }), expected, "{value}");
        }
        let untagged = Validators { etag: None, ..held };
        assert_eq!(if_range(&request, &untagged), expected && value == SAME, "{value}");
    }
    let twice = request("GET", &format!("If-Range: {SAME}\r\nIf-Range: {SAME}\r\n"));
    assert!(!if_range(&twice, &held));
    assert!(if_range(&request("GET", ""), &held));
    assert!(if_range(&request("GET", ""), &Validators { etag: None, modified: None, ..held }));
}

#[test]
fn a_range_behind_if_unmodified_since_needs_the_very_date() {
    let strong = tag();
    let exact = validators(&strong);
    for (fields, expected) in [
        ("If-Unmodified-Since: SAME\r\n", true),
        ("If-Unmodified-Since: AFTER\r\n", false),
        ("If-Unmodified-Since: then\r\n", true),
        ("If-Match: ~\r\nIf-Unmodified-Since: AFTER\r\n", true),
    ] {
        let request = request("GET", &dated(fields));
        assert_eq!(if_range(&request, &exact), expected, "{fields}");
        assert!(if_range(&request, &Validators { dates: Dates::NotLater, ..exact }), "{fields}");
    }
}

#[test]
fn a_date_is_strong_only_a_second_after_its_own() {
    let strong = tag();
    let range = request("GET", &format!("If-Range: {SAME}\r\n"));
    assert_eq!(date::format(MODIFIED), SAME.as_bytes());
    for (now, expected) in [(MODIFIED, false), (MODIFIED + 1, false), (MODIFIED + 2, true)] {
        assert_eq!(if_range(&range, &Validators { now, ..validators(&strong) }), expected);
    }
}
