//! Conditional requests, and the validators that they compare (RFC 9110 §8.8, §13).

use std::fs;
use std::process::Command;

use crate::client::Response;
use crate::files::write_dated;
use crate::layouts;
use crate::server::Server;

/// The modification time of `f`, in seconds and as dates of HTTP, and the seconds before and after
/// it.
const MODIFIED: u64 = 1_577_836_800;
const THEN: &str = "Wed, 01 Jan 2020 00:00:00 GMT";
const BEFORE: &str = "Tue, 31 Dec 2019 23:59:59 GMT";
const AFTER: &str = "Wed, 01 Jan 2020 00:00:01 GMT";

type Fields = &'static [(&'static str, &'static str)];

/// Field lines, with `TAG` in place of the file's tag, and the expected status.
const TAGS: &[(Fields, u16)] = &[
    (&[("If-None-Match", "TAG")], 304),
    (&[("If-None-Match", "W/TAG")], 304),
    (&[("If-None-Match", "*")], 304),
    (&[("If-None-Match", "\"a,b\", W/\"c\", TAG")], 304),
    (&[("If-None-Match", "\"a\""), ("If-None-Match", "TAG")], 304),
    (&[("If-None-Match", "\"other\"")], 200),
    (&[("If-Modified-Since", BEFORE)], 200),
    (&[("If-Modified-Since", "now and then")], 200),
    (&[("If-Match", "TAG")], 200),
    (&[("If-Match", "\"other\", TAG")], 200),
    (&[("If-Match", "*")], 200),
    (&[("If-Match", "W/TAG")], 412),
    (&[("If-Match", "\"other\"")], 412),
    (&[("If-Unmodified-Since", BEFORE)], 412),
    (&[("If-Unmodified-Since", "never")], 200),
    // A field with tags overrides the one with a date, whatever its result (§13.2.2).
    (&[("If-None-Match", "\"other\""), ("If-Modified-Since", THEN)], 200),
    (&[("If-None-Match", "TAG"), ("If-Modified-Since", BEFORE)], 304),
    (&[("If-Match", "TAG"), ("If-Unmodified-Since", BEFORE)], 200),
    (&[("If-Match", "\"other\""), ("If-Unmodified-Since", THEN)], 412),
    // Conditions that lead to 412 are evaluated before those that lead to 304.
    (&[("If-None-Match", "TAG"), ("If-Match", "\"other\"")], 412),
    (&[("If-None-Match", "TAG"), ("If-Match", "TAG")], 304),
    (&[("If-None-Match", "TAG"), ("If-Unmodified-Since", BEFORE)], 412),
    (&[("If-Modified-Since", THEN), ("If-Unmodified-Since", BEFORE)], 412),
    // Both are evaluated before the range.
    (&[("If-None-Match", "TAG"), ("Range", "bytes=0-1")], 304),
    (&[("If-Match", "\"other\""), ("Range", "bytes=0-1")], 412),
    (&[("If-Match", "TAG"), ("Range", "bytes=0-1")], 206),
    (&[("If-None-Match", "TAG"), ("Range", "bytes=999-")], 304),
];

/// Field lines with a date, the status with `--etag shared`, where only the modification date
/// counts, and the status without it: the file has just been written and given an old date.
const DATES: &[(Fields, u16, u16)] = &[
    (&[("If-Modified-Since", THEN)], 304, 200),
    (&[("If-Modified-Since", AFTER)], 304, 200),
    (&[("If-Modified-Since", "Wednesday, 01-Jan-20 00:00:00 GMT")], 304, 200),
    (&[("If-Modified-Since", "Wed Jan  1 00:00:00 2020")], 304, 200),
    (&[("If-Unmodified-Since", THEN)], 200, 412),
    (&[("If-Unmodified-Since", AFTER)], 200, 412),
    (&[("If-Unmodified-Since", AFTER), ("Range", "bytes=0-1")], 206, 412),
    (&[("If-Range", THEN), ("Range", "bytes=0-1")], 206, 200),
    (&[("If-Range", AFTER), ("Range", "bytes=0-1")], 200, 200),
];

#[test]
fn every_condition_has_its_status() {
    let root = tempfile::tempdir().unwrap();
    write_dated(&root.path().join("f"), "content", MODIFIED);
    for layout in layouts::sample() {
        for shared in [true, false] {
            let form = if shared { "shared" } else { "local" };
            let flags = ["--log", "off", "--etag", form];
            let server = Server::start_with(layout, root.path(), &flags);
            let mut client = server.connect();
            let tag = client.wait_for_etag("/f");
            let tags = TAGS.iter().copied();
            let dates = DATES
                .iter()
                .map(|&(fields, one, other)| (fields, if shared { one } else { other }));
            for (fields, status) in tags.chain(dates) {
                let lines = lines(fields, &tag);
                let what = format!("{layout}, {form}, {lines:?}");
                let response = client.request("GET", "/f", &lines);
                assert_eq!(response.status, status, "{what}");
                assert_eq!(response.field("etag").is_some(), status != 412, "{what}");
                if status == 304 {
                    assert_not_modified(&response, &tag, &what);
                }
                if !lines.contains("Range: ") {
                    assert_eq!(client.request("HEAD", "/f", &lines).status, status, "{what}, HEAD");
                }
            }
        }
    }
}

fn lines(fields: &[(&str, &str)], tag: &str) -> String {
    let line = |(name, value): &(&str, &str)| format!("{name}: {}\r\n", value.replace("TAG", tag));
    fields.iter().map(line).collect()
}

/// Expects the fields that update a cache, none that describe a body, and no body: its bytes would
/// break the next request on the same connection.
fn assert_not_modified(response: &Response, tag: &str, what: &str) {
    assert_eq!(response.field("etag"), Some(tag), "{what}");
    assert_eq!(response.field("last-modified"), Some(THEN), "{what}");
    assert_eq!(response.field("vary"), Some("Accept-Encoding"), "{what}");
    for absent in ["content-type", "content-length", "content-range", "transfer-encoding"] {
        assert_eq!(response.field(absent), None, "{what}");
    }
}

#[test]
fn conditions_are_ignored_without_a_file() {
    let root = tempfile::tempdir().unwrap();
    for layout in layouts::sample() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        for condition in ["If-None-Match: *\r\n", "If-Match: *\r\n"] {
            assert_eq!(
                client.request("GET", "/none", condition).status,
                404,
                "{layout}, {condition}"
            );
            assert_eq!(
                client.request("POST", "/none", condition).status,
                405,
                "{layout}, {condition}"
            );
        }
    }
}

#[test]
fn new_version_has_a_new_etag() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("f");
    for layout in layouts::sample() {
        write_dated(&path, "one", MODIFIED);
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        let mut tags = vec![client.wait_for_etag("/f")];
        for (content, modified) in [("one", MODIFIED + 1), ("other", MODIFIED), ("two", 1)] {
            write_dated(&path, content, modified);
            tags.push(client.wait_for_etag("/f"));
        }
        let count = tags.len();
        tags.sort();
        tags.dedup();
        assert_eq!(tags.len(), count, "{layout}, {tags:?}");
    }
}

#[test]
fn shared_etags_match_for_copies_with_equal_times() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("one/deep")).unwrap();
    let names = ["a.txt", "b.html", "deep/c"];
    for name in names {
        // Written now, with full nanoseconds.
        fs::write(root.path().join("one").join(name), name).unwrap();
    }
    let copied = Command::new("cp").args(["-pR", "one", "two"]).current_dir(root.path()).status();
    match copied {
        Ok(status) => assert!(status.success(), "cp: {status}"),
        Err(error) => return println!("skipped: cp: {error}"),
    }
    for layout in layouts::sample() {
        let server = Server::start_with(layout, root.path(), &["--log", "off", "--etag", "shared"]);
        let mut client = server.connect();
        for name in names {
            let one = client.wait_for_etag(&format!("/one/{name}"));
            let two = client.wait_for_etag(&format!("/two/{name}"));
            assert_eq!(one, two, "{layout}, {name}");
        }
    }
}
