//! The access log: exact lines, and readers that stall or leave.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};

use crate::files::pattern;
use crate::patience::Patient;
use crate::server::Server;
use crate::ways;

/// More than all socket buffers hold.
const LARGE: usize = 64 << 20;

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("small"), "0123456789").unwrap();
    fs::write(root.path().join("large"), pattern(LARGE)).unwrap();
    root
}

/// Its standard output, line by line.
fn lines(server: &mut Server) -> impl Iterator<Item = String> + use<> {
    BufReader::new(Patient(server.stdout.take().unwrap())).lines().map(Result::unwrap)
}

/// The requests whose lines are looked at.
fn make_requests(server: &Server) {
    let mut client = server.connect();
    let fields = "User-Agent: test \"1\"\r\nReferer: http://a/\r\n";
    assert_eq!(client.request("GET", "/small", fields).status, 200);
    assert_eq!(client.request("HEAD", "/small", "").status, 200);
    assert_eq!(client.request("GET", "/small", "Range: bytes=2-4\r\n").status, 206);
    assert_eq!(client.request("GET", "/no%22ne\"\u{e9}", "").status, 404);
    client.send("nonsense\x01\r\n\r\n");
    assert_eq!(client.response(false).status, 400);
}

/// Request line as it is logged, status, bytes.
const EXPECTED: [(&str, u16, u64); 5] = [
    ("GET /small HTTP/1.1", 200, 10),
    ("HEAD /small HTTP/1.1", 200, 0),
    ("GET /small HTTP/1.1", 206, 3),
    (r"GET /no%22ne\x22\xC3\xA9 HTTP/1.1", 404, 14),
    (r"nonsense\x01", 400, 0),
];

#[test]
fn common_and_combined_are_those_of_other_servers() {
    let root = root();
    for way in ways::some() {
        for format in ["common", "combined"] {
            let mut server = Server::start_with(way, root.path(), &["--log", format]);
            let lines = lines(&mut server);
            make_requests(&server);
            for ((request, status, bytes), line) in EXPECTED.into_iter().zip(lines) {
                let (peer, rest) = line.split_once(" - - [").unwrap();
                assert_eq!(peer, "127.0.0.1", "{way}");
                let (time, rest) = rest.split_once("] ").unwrap();
                assert!(time.len() == 26 && time.ends_with(" +0000"), "{way}: {time}");
                let agent = match (format, bytes) {
                    ("common", _) => "",
                    (_, 10) => r#" "http://a/" "test \x221\x22""#,
                    _ => r#" "-" "-""#,
                };
                // How long the sentence of a refusal is does not matter here.
                let end = if status == 400 { String::new() } else { format!("{bytes}{agent}") };
                let expected = format!("\"{request}\" {status} {end}");
                assert!(rest.starts_with(&expected), "{way}, {format}: {line}");
                assert!(status == 400 || rest == expected, "{way}, {format}: {line}");
            }
        }
    }
}

#[test]
fn json_is_an_object_a_line() {
    let root = root();
    for way in ways::some() {
        let mut server = Server::start_with(way, root.path(), &["--log", "json"]);
        let lines = lines(&mut server);
        make_requests(&server);
        for ((request, status, bytes), line) in EXPECTED.into_iter().zip(lines) {
            let entry: serde_json::Value = serde_json::from_str(&line).unwrap();
            let said = entry["request"].as_str().unwrap();
            assert!(said.split(' ').next() == request.split([' ', '\\']).next() || status == 400);
            assert_eq!(entry["status"], status, "{way}: {line}");
            assert!(status == 400 || entry["bytes"] == bytes, "{way}: {line}");
            assert_eq!(entry["peer"], "127.0.0.1", "{way}");
            assert!(entry["time"].as_str().unwrap().starts_with("20"), "{way}: {line}");
            assert!(entry["seconds"].as_f64().unwrap() >= 0.0, "{way}: {line}");
        }
    }
}

#[test]
fn off_is_silent() {
    let root = root();
    for way in ways::some() {
        let mut server = Server::start_with(way, root.path(), &["--log", "off"]);
        let mut stdout = server.stdout.take().unwrap();
        make_requests(&server);
        server.signal(rustix::process::Signal::TERM);
        assert!(server.wait().0.success(), "{way}");
        let mut said = String::new();
        stdout.read_to_string(&mut said).unwrap();
        assert_eq!(said, "", "{way}");
    }
}

#[test]
fn what_went_of_an_aborted_download_is_logged() {
    let root = root();
    for way in ways::all() {
        let mut server = Server::start_with(way, root.path(), &["--log", "common"]);
        let mut lines = lines(&mut server);
        let mut client = server.connect();
        assert_eq!(client.begin("/large").status, 200, "{way}");
        let read = client.take(1 << 20).len() as u64;
        drop(client);
        let line = lines.next().unwrap();
        let bytes: u64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        assert!((read..LARGE as u64).contains(&bytes), "{way}: {line}");
    }
}

#[test]
fn the_last_lines_are_written_before_the_end() {
    let root = root();
    for way in ways::some() {
        let mut server = Server::start_with(way, root.path(), &["--log", "common"]);
        let lines = lines(&mut server);
        let mut client = server.connect();
        for _ in 0..100 {
            assert_eq!(client.get("/small").status, 200, "{way}");
        }
        server.signal(rustix::process::Signal::TERM);
        assert_eq!(lines.count(), 100, "{way}");
    }
}

/// What came, and how it is logged.
const HOSTILE: [(&[u8], &str); 4] = [
    (b"GET /\"\\ HTTP/1.1\r\nHost: test\r\n\r\n", r"GET /\x22\x5C HTTP/1.1"),
    (b"GET /\x1b[31m HTTP/1.1\r\nHost: test\r\n\r\n", r"GET /\x1B[31m HTTP/1.1"),
    (b"GET /\xff\x00 HTTP/1.1\r\nHost: test\r\n\r\n", r"GET /\xFF\x00 HTTP/1.1"),
    (b"\x16\x03\x01\x02\0\x01\0\x01\r\n\r\n", r"\x16\x03\x01\x02\x00\x01\x00\x01"),
];

#[test]
fn a_line_is_a_line_whatever_came() {
    let root = root();
    for way in ways::some() {
        let mut server = Server::start_with(way, root.path(), &["--log", "common"]);
        let mut lines = lines(&mut server);
        for (request, logged) in HOSTILE {
            let mut client = server.connect();
            client.send(request);
            let status = client.response(false).status;
            let line = lines.next().unwrap();
            let (_, after_date) = line.split_once("] ").unwrap();
            let expected = format!("\"{logged}\" {status} ");
            assert!(after_date.starts_with(&expected), "{way}: {line} is not {expected}");
        }
    }
}

/// Enough that neither the pipe nor the buffer holds all lines.
const REQUESTS: usize = 1200;

/// How many lines this line of a log says were dropped; `None` for the line of a request.
fn dropped(line: &str, format: &str) -> Option<usize> {
    if format == "json" {
        let entry: serde_json::Value = serde_json::from_str(line).expect("every line is an object");
        return entry.get("dropped").map(|count| count.as_u64().unwrap().try_into().unwrap());
    }
    let lost = line.strip_prefix("karez: ")?;
    Some(lost.split(' ').next().unwrap().parse().unwrap())
}

#[test]
fn a_stalled_reader_costs_lines_and_no_answers() {
    let root = root();
    let target = format!("/small?{}", "x".repeat(4000));
    for way in ways::some() {
        for format in ["common", "combined", "json"] {
            let mut server = Server::start_with(way, root.path(), &["--log", format]);
            let mut client = server.connect();
            for _ in 0..REQUESTS {
                assert_eq!(client.get(&target).status, 200, "{way}");
            }
            let (mut told, mut lost) = (0, 0);
            for line in lines(&mut server) {
                match dropped(&line, format) {
                    Some(count) => lost += count,
                    None => told += 1,
                }
                if told + lost == REQUESTS {
                    break;
                }
            }
            assert!(told > 0 && lost > 0, "{way}, {format}: {told} told, {lost} dropped");
        }
    }
}

#[test]
fn a_reader_that_left_is_no_loss() {
    let root = root();
    for way in ways::some() {
        let mut server = Server::start_with(way, root.path(), &["--log", "common"]);
        drop(server.stdout.take());
        let mut client = server.connect();
        for _ in 0..REQUESTS {
            assert_eq!(client.get("/small").status, 200, "{way}");
        }
        server.signal(rustix::process::Signal::TERM);
        assert!(server.wait().0.success(), "{way}");
    }
}

#[test]
fn a_standard_output_that_was_closed_from_the_start_is_no_loss() {
    let root = root();
    for way in ways::some() {
        let prefix = ["sh", "-c", "exec \"$@\" >&-", "sh"];
        let server = Server::start_under(&prefix, way, root.path(), &["--log", "common"]);
        let mut client = server.connect();
        for _ in 0..REQUESTS {
            assert_eq!(client.get("/small").status, 200, "{way}");
        }
        server.signal(rustix::process::Signal::TERM);
        assert!(server.wait().0.success(), "{way}");
    }
}

#[test]
fn notices_that_nobody_reads_slow_nobody() {
    let root = root();
    let hurried = ["--log", "off"];
    for way in ways::some() {
        let server = Server::start_with(way, root.path(), &hurried);
        let path = root.path().join("shrinking");
        // Each leaves a notice with a long name in it, and standard error is not read.
        for _ in 0..100 {
            let file = fs::File::create(&path).unwrap();
            file.set_len(LARGE as u64).unwrap();
            let mut client = server.connect();
            client.narrow();
            client.begin(&format!("/shrinking?{}", "x".repeat(4000)));
            file.set_len(0).unwrap();
            client.rest();
        }
        assert_eq!(server.get("/small").status, 200, "{way}");
        server.signal(rustix::process::Signal::TERM);
        let (status, said) = server.wait();
        assert!(status.success(), "{way}");
        assert!(said.contains("became shorter"), "{way}");
    }
}

/// Each request for this file makes a notice, for it is shorter than it says.
const SHORTER: &str = "/sys/kernel/uevent_seqnum";

#[test]
fn notices_that_nobody_reads_are_dropped_and_counted() {
    if !fs::metadata(SHORTER).is_ok_and(|meta| meta.len() > 100) {
        println!("skipped: {SHORTER} is missing, or no shorter than it says");
        return;
    }
    let (root, name) = SHORTER.rsplit_once('/').unwrap();
    let target = format!("/{name}?{}", "x".repeat(4000));
    for way in ways::some() {
        let mut server = Server::start(way, root.as_ref());
        for _ in 0..REQUESTS {
            let mut client = server.connect();
            assert_eq!(client.begin(&target).status, 200, "{way}");
            assert!(client.drain() < 100, "{way}");
        }
        let (mut told, mut dropped) = (0, 0);
        while told + dropped < REQUESTS {
            let mut line = String::new();
            server.stderr.read_line(&mut line).unwrap();
            match line.strip_suffix(" notices were dropped, their reader is too slow\n") {
                Some(lost) => dropped += lost.rsplit(' ').next().unwrap().parse::<usize>().unwrap(),
                None => told += 1,
            }
        }
        assert_eq!(told + dropped, REQUESTS, "{way}");
        assert!(told > 0 && dropped > 0, "{way}: {told} told, {dropped} dropped");
    }
}
