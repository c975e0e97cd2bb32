//! The access log: exact lines, and log readers that stall or close.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};

use crate::files::pattern;
use crate::layouts;
use crate::server::Server;
use crate::timeouts::TimedReader;

/// More than all socket buffers hold.
const LARGE: usize = 64 << 20;

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("small"), "0123456789").unwrap();
    fs::write(root.path().join("large"), pattern(LARGE)).unwrap();
    root
}

/// Returns the lines of the server's standard output.
fn lines(server: &mut Server) -> impl Iterator<Item = String> + use<> {
    BufReader::new(TimedReader(server.stdout.take().unwrap())).lines().map(Result::unwrap)
}

/// Makes the requests whose log lines are checked.
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

/// Logged request line, status, bytes.
const EXPECTED: [(&str, u16, u64); 5] = [
    ("GET /small HTTP/1.1", 200, 10),
    ("HEAD /small HTTP/1.1", 200, 0),
    ("GET /small HTTP/1.1", 206, 3),
    (r"GET /no%22ne\x22\xC3\xA9 HTTP/1.1", 404, 14),
    (r"nonsense\x01", 400, 0),
];

#[test]
fn common_and_combined_match_the_standard_formats() {
    let root = root();
    for layout in layouts::sample() {
        for format in ["common", "combined"] {
            let mut server = Server::start_with(layout, root.path(), &["--log", format]);
            let lines = lines(&mut server);
            make_requests(&server);
            for ((request, status, bytes), line) in EXPECTED.into_iter().zip(lines) {
                let (peer, rest) = line.split_once(" - - [").unwrap();
                assert_eq!(peer, "127.0.0.1", "{layout}");
                let (time, rest) = rest.split_once("] ").unwrap();
                assert!(time.len() == 26 && time.ends_with(" +0000"), "{layout}: {time}");
                let agent = match (format, bytes) {
                    ("common", _) => "",
                    (_, 10) => r#" "http://a/" "test \x221\x22""#,
                    _ => r#" "-" "-""#,
                };
                // The length of the error text does not matter here.
                let end = if status == 400 { String::new() } else { format!("{bytes}{agent}") };
                let expected = format!("\"{request}\" {status} {end}");
                assert!(rest.starts_with(&expected), "{layout}, {format}: {line}");
                assert!(status == 400 || rest == expected, "{layout}, {format}: {line}");
            }
        }
    }
}

#[test]
fn json_log_is_one_object_per_line() {
    let root = root();
    for layout in layouts::sample() {
        let mut server = Server::start_with(layout, root.path(), &["--log", "json"]);
        let lines = lines(&mut server);
        make_requests(&server);
        for ((request, status, bytes), line) in EXPECTED.into_iter().zip(lines) {
            let entry: serde_json::Value = serde_json::from_str(&line).unwrap();
            let logged = entry["request"].as_str().unwrap();
            assert!(logged.split(' ').next() == request.split([' ', '\\']).next() || status == 400);
            assert_eq!(entry["status"], status, "{layout}: {line}");
            assert!(status == 400 || entry["bytes"] == bytes, "{layout}: {line}");
            assert_eq!(entry["peer"], "127.0.0.1", "{layout}");
            assert!(entry["time"].as_str().unwrap().starts_with("20"), "{layout}: {line}");
            assert!(entry["seconds"].as_f64().unwrap() >= 0.0, "{layout}: {line}");
        }
    }
}

#[test]
fn off_logs_nothing() {
    let root = root();
    for layout in layouts::sample() {
        let mut server = Server::start_with(layout, root.path(), &["--log", "off"]);
        let mut stdout = server.stdout.take().unwrap();
        make_requests(&server);
        server.signal(rustix::process::Signal::TERM);
        assert!(server.wait().0.success(), "{layout}");
        let mut printed = String::new();
        stdout.read_to_string(&mut printed).unwrap();
        assert_eq!(printed, "", "{layout}");
    }
}

#[test]
fn aborted_download_logs_the_bytes_sent() {
    let root = root();
    for layout in layouts::all_with_vias() {
        let mut server = Server::start_with(layout, root.path(), &["--log", "common"]);
        let mut lines = lines(&mut server);
        let mut client = server.connect();
        assert_eq!(client.start_get("/large").status, 200, "{layout}");
        let read = client.read_body(1 << 20).len() as u64;
        drop(client);
        let line = lines.next().unwrap();
        let bytes: u64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        assert!((read..LARGE as u64).contains(&bytes), "{layout}: {line}");
    }
}

#[test]
fn log_is_flushed_at_shutdown() {
    let root = root();
    for layout in layouts::sample() {
        let mut server = Server::start_with(layout, root.path(), &["--log", "common"]);
        let lines = lines(&mut server);
        let mut client = server.connect();
        for _ in 0..100 {
            assert_eq!(client.get("/small").status, 200, "{layout}");
        }
        server.signal(rustix::process::Signal::TERM);
        assert_eq!(lines.count(), 100, "{layout}");
    }
}

/// The received bytes, and the logged request line.
const HOSTILE: [(&[u8], &str); 4] = [
    (b"GET /\"\\ HTTP/1.1\r\nHost: test\r\n\r\n", r"GET /\x22\x5C HTTP/1.1"),
    (b"GET /\x1b[31m HTTP/1.1\r\nHost: test\r\n\r\n", r"GET /\x1B[31m HTTP/1.1"),
    (b"GET /\xff\x00 HTTP/1.1\r\nHost: test\r\n\r\n", r"GET /\xFF\x00 HTTP/1.1"),
    (b"\x16\x03\x01\x02\0\x01\0\x01\r\n\r\n", r"\x16\x03\x01\x02\x00\x01\x00\x01"),
];

#[test]
fn hostile_input_is_escaped_in_the_log() {
    let root = root();
    for layout in layouts::sample() {
        let mut server = Server::start_with(layout, root.path(), &["--log", "common"]);
        let mut lines = lines(&mut server);
        for (request, logged) in HOSTILE {
            let mut client = server.connect();
            client.send(request);
            let status = client.response(false).status;
            let line = lines.next().unwrap();
            let (_, after_date) = line.split_once("] ").unwrap();
            let expected = format!("\"{logged}\" {status} ");
            assert!(after_date.starts_with(&expected), "{layout}: {line} is not {expected}");
        }
    }
}

/// More lines than the pipe and the buffer hold.
const REQUESTS: usize = 1200;

/// Returns the number of dropped lines that this log line reports; `None` for the line of a
/// request.
fn dropped(line: &str, format: &str) -> Option<usize> {
    if format == "json" {
        let entry: serde_json::Value = serde_json::from_str(line).expect("every line is an object");
        return entry.get("dropped").map(|count| count.as_u64().unwrap().try_into().unwrap());
    }
    let lost = line.strip_prefix("karez: ")?;
    Some(lost.split(' ').next().unwrap().parse().unwrap())
}

#[test]
fn stalled_log_reader_loses_lines_but_no_responses() {
    let root = root();
    let target = format!("/small?{}", "x".repeat(4000));
    for layout in layouts::sample() {
        for format in ["common", "combined", "json"] {
            let mut server = Server::start_with(layout, root.path(), &["--log", format]);
            let mut client = server.connect();
            for _ in 0..REQUESTS {
                assert_eq!(client.get(&target).status, 200, "{layout}");
            }
            let (mut logged, mut lost) = (0, 0);
            for line in lines(&mut server) {
                match dropped(&line, format) {
                    Some(count) => lost += count,
                    None => logged += 1,
                }
                if logged + lost == REQUESTS {
                    break;
                }
            }
            assert!(logged > 0 && lost > 0, "{layout}, {format}: {logged} logged, {lost} dropped");
        }
    }
}

#[test]
fn closed_log_reader_is_harmless() {
    let root = root();
    for layout in layouts::sample() {
        let mut server = Server::start_with(layout, root.path(), &["--log", "common"]);
        drop(server.stdout.take());
        let mut client = server.connect();
        for _ in 0..REQUESTS {
            assert_eq!(client.get("/small").status, 200, "{layout}");
        }
        server.signal(rustix::process::Signal::TERM);
        assert!(server.wait().0.success(), "{layout}");
    }
}

#[test]
fn closed_stdout_is_harmless() {
    let root = root();
    for layout in layouts::sample() {
        let prefix = ["sh", "-c", "exec \"$@\" >&-", "sh"];
        let server = Server::start_under(&prefix, layout, root.path(), &["--log", "common"]);
        let mut client = server.connect();
        for _ in 0..REQUESTS {
            assert_eq!(client.get("/small").status, 200, "{layout}");
        }
        server.signal(rustix::process::Signal::TERM);
        assert!(server.wait().0.success(), "{layout}");
    }
}

#[test]
fn unread_error_lines_do_not_block_requests() {
    let root = root();
    let hurried = ["--log", "off"];
    for layout in layouts::sample() {
        let server = Server::start_with(layout, root.path(), &hurried);
        let path = root.path().join("shrinking");
        // Each causes an error line with a long name, and standard error is not read.
        for _ in 0..100 {
            let file = fs::File::create(&path).unwrap();
            file.set_len(LARGE as u64).unwrap();
            let mut client = server.connect();
            client.limit_receive_buffer();
            client.start_get(&format!("/shrinking?{}", "x".repeat(4000)));
            file.set_len(0).unwrap();
            client.read_to_end();
        }
        assert_eq!(server.get("/small").status, 200, "{layout}");
        server.signal(rustix::process::Signal::TERM);
        let (status, printed) = server.wait();
        assert!(status.success(), "{layout}");
        assert!(printed.contains("became shorter"), "{layout}");
    }
}

/// Each request for this file causes an error line, since it is shorter than its reported size.
const SHORTER: &str = "/sys/kernel/uevent_seqnum";

#[test]
fn unread_error_lines_are_dropped_and_counted() {
    if !fs::metadata(SHORTER).is_ok_and(|meta| meta.len() > 100) {
        println!("skipped: {SHORTER} is missing, or no shorter than it says");
        return;
    }
    let (root, name) = SHORTER.rsplit_once('/').unwrap();
    let target = format!("/{name}?{}", "x".repeat(4000));
    for layout in layouts::sample() {
        let mut server = Server::start(layout, root.as_ref());
        for _ in 0..REQUESTS {
            let mut client = server.connect();
            assert_eq!(client.start_get(&target).status, 200, "{layout}");
            assert!(client.drain() < 100, "{layout}");
        }
        let (mut logged, mut dropped) = (0, 0);
        while logged + dropped < REQUESTS {
            let mut line = String::new();
            server.stderr.read_line(&mut line).unwrap();
            match line.strip_suffix(" notices were dropped because their reader is too slow\n") {
                Some(lost) => dropped += lost.rsplit(' ').next().unwrap().parse::<usize>().unwrap(),
                None => logged += 1,
            }
        }
        assert_eq!(logged + dropped, REQUESTS, "{layout}");
        assert!(logged > 0 && dropped > 0, "{layout}: {logged} logged, {dropped} dropped");
    }
}
