//! The access log and the notices: what a line says, and that their readers slow nobody down.

use rustix::net::sockopt;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::ChildStdout;
use std::time::Duration;

use crate::client::Client;
use crate::patience::Patient;
use crate::server::Server;
use crate::ways::{self, Way};

/// More than all socket buffers hold.
const LARGE: usize = 64 << 20;

/// With so long a target each, these fill every pipe and buffer between the server and a reader.
const MANY: usize = 1000;
const LONG: usize = 4096;

#[test]
fn common_lines_say_what_was_asked_and_what_left() {
    let root = site();
    for way in ways::all() {
        let (server, mut log) = start(way, root.path(), "common");
        let mut client = server.connect();
        client.get("/file");
        client.request("HEAD", "/file", "");
        client.request("GET", "/file?a=b", "Range: bytes=1-2\r\n");
        client.get("/missing");
        client.request("GET", "/file", "If-None-Match: *\r\n");
        client.request("DELETE", "/file", "");
        let expected = [
            r#"127.0.0.1 - - [date] "GET /file HTTP/1.1" 200 5"#,
            r#"127.0.0.1 - - [date] "HEAD /file HTTP/1.1" 200 0"#,
            r#"127.0.0.1 - - [date] "GET /file?a=b HTTP/1.1" 206 2"#,
            r#"127.0.0.1 - - [date] "GET /missing HTTP/1.1" 404 14"#,
            r#"127.0.0.1 - - [date] "GET /file HTTP/1.1" 304 0"#,
        ];
        for expected in expected {
            assert_eq!(without_date(&next(&mut log)), expected, "{way}");
        }
        let refused = without_date(&next(&mut log));
        assert!(refused.starts_with(r#"127.0.0.1 - - [date] "DELETE /file HTTP/1.1" 405 "#));
    }
}

#[test]
fn combined_lines_say_who_asked_and_from_where() {
    let root = site();
    for way in ways::layouts() {
        let (server, mut log) = start(way, root.path(), "combined");
        let mut client = server.connect();
        let fields = "User-Agent: a\"b\\c\u{e9}\r\nReferer: http://here/\r\n";
        client.request("GET", "/file", fields);
        client.get("/file");
        let line = r#"127.0.0.1 - - [date] "GET /file HTTP/1.1" 200 5"#;
        let who = r#""http://here/" "a\x22b\x5Cc\xC3\xA9""#;
        assert_eq!(without_date(&next(&mut log)), format!("{line} {who}"), "{way}");
        assert_eq!(without_date(&next(&mut log)), format!(r#"{line} "-" "-""#), "{way}");
    }
}

#[test]
fn json_lines_are_objects() {
    let root = site();
    for way in ways::layouts() {
        let (server, mut log) = start(way, root.path(), "json");
        server.connect().request("GET", "/file", "User-Agent: a\"\\\u{e9}\r\n");
        let mut entry: BTreeMap<String, Value> = serde_json::from_str(&next(&mut log)).unwrap();
        let time = entry.remove("time").unwrap();
        // The year 2020: it is a date at all.
        assert!(time.as_u64().unwrap() > 1_577_836_800, "{way}: {time}");
        let seconds = entry.remove("seconds").unwrap();
        assert!((0.0..60.0).contains(&seconds.as_f64().unwrap()), "{way}: {seconds}");
        let expected = json!({
            "peer": "127.0.0.1",
            "request": "GET /file HTTP/1.1",
            "status": 200,
            "bytes": 5,
            "referer": "-",
            "user_agent": "a\"\\\u{e9}",
        });
        assert_eq!(json!(entry), expected, "{way}");
    }
}

#[test]
fn off_is_silent() {
    let root = site();
    for way in ways::layouts() {
        let (server, mut log) = start(way, root.path(), "off");
        assert_eq!(server.get("/file").body, b"file\n", "{way}");
        assert_eq!(server.get("/missing").status, 404, "{way}");
        server.signal(Signal::TERM);
        let mut said = String::new();
        log.read_to_string(&mut said).unwrap();
        assert_eq!(said, "", "{way}");
    }
}

#[test]
fn the_last_lines_are_written_before_the_end() {
    let root = site();
    for way in ways::layouts() {
        let (server, log) = start(way, root.path(), "common");
        let mut client = server.connect();
        for _ in 0..100 {
            client.get("/file");
        }
        server.signal(Signal::TERM);
        assert_eq!(log.lines().map(Result::unwrap).count(), 100, "{way}");
    }
}

#[test]
fn a_download_that_is_left_counts_what_went() {
    let root = site();
    for way in ways::all() {
        let (server, mut log) = start(way, root.path(), "json");
        let mut client = server.connect();
        assert_eq!(client.begin("/large").status, 200, "{way}");
        let taken = 1 << 20;
        client.take(taken);
        sockopt::set_socket_linger(client.stream.get_ref(), Some(Duration::ZERO)).unwrap();
        drop(client);
        let entry: Value = serde_json::from_str(&next(&mut log)).unwrap();
        assert_eq!(entry["status"], 200, "{way}");
        let bytes = entry["bytes"].as_u64().unwrap();
        assert!((taken as u64..LARGE as u64).contains(&bytes), "{way}: {bytes} bytes");
    }
}

#[test]
fn a_line_is_a_line_whatever_came() {
    let root = site();
    let hostile: [(&[u8], &str); 4] = [
        (b"GET /\"\\ HTTP/1.1\r\nHost: test\r\n\r\n", r"GET /\x22\x5C HTTP/1.1"),
        (b"GET /\x1b[31m HTTP/1.1\r\nHost: test\r\n\r\n", r"GET /\x1B[31m HTTP/1.1"),
        (b"GET /\xff\x00 HTTP/1.1\r\nHost: test\r\n\r\n", r"GET /\xFF\x00 HTTP/1.1"),
        (
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n",
            r"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03",
        ),
    ];
    for way in ways::layouts() {
        let (server, mut log) = start(way, root.path(), "common");
        for (request, logged) in hostile {
            let mut client = server.connect();
            client.send(request);
            let status = client.response(false).status;
            let line = without_date(&next(&mut log));
            let expected = format!("127.0.0.1 - - [date] \"{logged}\" {status} ");
            assert!(line.starts_with(&expected), "{way}: {line} is not {expected}");
        }
    }
}

#[test]
fn an_access_log_that_nobody_reads_slows_nobody_down() {
    let root = site();
    for way in ways::layouts() {
        let (server, mut log) = start(way, root.path(), "common");
        let mut client = server.connect();
        for _ in 0..MANY {
            assert_eq!(client.get(&long_target("/file")).body, b"file\n", "{way}");
        }
        let dropped = count_lines(&mut log, " lines were dropped, their reader is too slow");
        assert!(dropped > 0, "{way}: all fitted in, so nothing is proved");
        client.get("/file");
        assert!(next(&mut log).contains("GET /file HTTP"), "{way}");
    }
}

#[test]
fn notices_that_nobody_reads_slow_nobody_down() {
    // These files are shorter than they say, and each request for one makes a notice.
    let root = Path::new("/sys/kernel");
    let name = "uevent_seqnum";
    if !fs::metadata(root.join(name)).is_ok_and(|meta| meta.len() > 10) {
        println!("skipped: no /sys/kernel/{name} that says it is larger than it is");
        return;
    }
    for way in ways::layouts() {
        let mut server = Server::start(way, root);
        for _ in 0..MANY {
            let mut client = server.connect();
            assert_eq!(client.begin(&long_target(&format!("/{name}"))).status, 200, "{way}");
            assert!(client.drain() < 100, "{way}");
        }
        let dropped =
            count_lines(&mut server.stderr, " notices were dropped, their reader is too slow");
        assert!(dropped > 0, "{way}: all fitted in, so nothing is proved");
    }
}

#[test]
fn a_reader_that_has_gone_is_no_end() {
    let root = site();
    for way in ways::layouts() {
        let (server, mut log) = start(way, root.path(), "common");
        let mut client = server.connect();
        client.get("/file");
        next(&mut log);
        drop(log);
        expect_service(&mut client, way);
    }
}

#[test]
fn a_closed_standard_output_is_no_end() {
    let root = site();
    for way in ways::layouts() {
        let prefix = ["sh", "-c", "exec \"$@\" >&-", "sh"];
        let server = Server::start_under(&prefix, way, root.path(), &[]);
        expect_service(&mut server.connect(), way);
    }
}

/// `file` has five bytes, `large` is large and holds zeros.
fn site() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), "file\n").unwrap();
    File::create(root.path().join("large")).unwrap().set_len(LARGE as u64).unwrap();
    root
}

type Log = BufReader<Patient<ChildStdout>>;

fn start(way: Way, root: &Path, form: &str) -> (Server, Log) {
    let mut server = Server::start_with(way, root, &["--log", form]);
    let log = BufReader::new(Patient(server.stdout.take().unwrap()));
    (server, log)
}

fn next(log: &mut impl BufRead) -> String {
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    line.strip_suffix('\n').expect("a whole line").to_owned()
}

/// The line with `[date]` for its date, which must look like `[23/Nov/2026:10:29:31 +0000]`.
fn without_date(line: &str) -> String {
    let (before, rest) = line.split_once('[').unwrap();
    let (date, after) = rest.split_once(']').unwrap();
    let digit = |c: char| if c.is_ascii_digit() { '0' } else { c };
    let shape: String = date.chars().map(digit).collect();
    let month = &shape[3..6];
    assert!(month.chars().all(|c| c.is_ascii_alphabetic()), "{date}");
    assert_eq!(shape.replacen(month, "Nov", 1), "00/Nov/0000:00:00:00 +0000", "{date}");
    format!("{before}[date]{after}")
}

fn long_target(path: &str) -> String {
    format!("{path}?{}", "x".repeat(LONG))
}

/// Reads until all requests are accounted for, and says how many lines were dropped.
fn count_lines(log: &mut impl BufRead, dropped_words: &str) -> usize {
    let (mut read, mut dropped) = (0, 0);
    while read + dropped < MANY {
        let line = next(log);
        match line.strip_suffix(dropped_words) {
            Some(words) => {
                dropped += words.strip_prefix("karez: ").unwrap().parse::<usize>().unwrap()
            }
            None if line.len() > LONG => read += 1,
            None => panic!("{line}"),
        }
    }
    assert_eq!(read + dropped, MANY);
    dropped
}

fn expect_service(client: &mut Client, way: Way) {
    // Enough for the log's thread to notice, and for several of its batches.
    for _ in 0..MANY {
        assert_eq!(client.get("/file").body, b"file\n", "{way}");
    }
}
