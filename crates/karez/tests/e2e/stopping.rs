//! Stopping: what is idle goes at once, what runs is finished, and the process says 0.

use rustix::process::Signal;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, ErrorKind};
use std::net::TcpStream;
use std::time::Duration;

use crate::files::pattern;
use crate::patience::Patient;
use crate::server::Server;
use crate::ways::{self, Way};

/// More than all socket buffers hold.
const LARGE: usize = 64 << 20;

/// With a grace that no test lives to see the end of.
const PATIENT: &[&str] = &["--log", "off", "--grace", "1h"];

#[test]
fn both_signals_end_an_idle_server_at_once() {
    let root = tempfile::tempdir().unwrap();
    for way in ways::layouts() {
        for signal in [Signal::TERM, Signal::INT] {
            let server = Server::start_with(way, root.path(), PATIENT);
            let mut silent = server.connect();
            let mut idle = server.connect();
            assert_eq!(idle.get("/").status, 200, "{way}");
            server.signal(signal);
            assert_eq!(idle.rest(), b"", "{way}, {signal:?}");
            // It may not even have been accepted, and then it is reset.
            assert_eq!(silent.drain(), 0, "{way}, {signal:?}");
            expect_success(server, way);
        }
    }
}

#[test]
fn what_runs_is_finished_while_nobody_new_is_let_in() {
    let root = tempfile::tempdir().unwrap();
    let content = pattern(LARGE);
    fs::write(root.path().join("large"), &content).unwrap();
    for way in ways::all() {
        let server = Server::start_with(way, root.path(), PATIENT);
        let mut client = server.connect();
        assert_eq!(client.begin("/large").status, 200, "{way}");
        let first = client.take(1 << 20);
        server.signal(Signal::TERM);
        until_refused(&server, way);
        let others = client.take(LARGE - first.len());
        assert!([first, others].concat() == content, "{way}: other bytes");
        assert_eq!(client.rest(), b"", "{way}");
        expect_success(server, way);
    }
}

#[test]
fn an_answer_that_begins_after_the_stop_says_that_it_is_the_last() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), "file").unwrap();
    for way in ways::layouts() {
        let server = Server::start_with(way, root.path(), PATIENT);
        let mut client = server.connect();
        // One segment, so the answer proves that the second request has begun.
        client.send("GET /file HTTP/1.1\r\nHost: test\r\n\r\nGET /file HTTP/1.1\r\n");
        assert_eq!(client.response(false).field("connection"), None, "{way}");
        server.signal(Signal::TERM);
        until_refused(&server, way);
        client.send("Host: test\r\n\r\n");
        let response = client.response(false);
        assert_eq!(response.body, b"file", "{way}");
        assert_eq!(response.field("connection"), Some("close"), "{way}");
        assert_eq!(client.rest(), b"", "{way}");
        drop(client);
        expect_success(server, way);
    }
}

#[test]
fn the_grace_ends_what_does_not_move() {
    let root = site_with_large_file();
    for way in ways::all() {
        let flags = ["--log", "off", "--grace", "200ms", "--send-timeout", "1h"];
        let server = Server::start_with(way, root.path(), &flags);
        let mut client = server.connect();
        assert_eq!(client.begin("/large").status, 200, "{way}");
        server.signal(Signal::TERM);
        expect_success(server, way);
        assert!(client.drain() < LARGE, "{way}");
    }
}

#[test]
fn what_the_grace_ends_is_logged() {
    let root = site_with_large_file();
    for way in ways::layouts() {
        let mut server = Server::start_with(way, root.path(), &["--grace", "200ms"]);
        let log = BufReader::new(Patient(server.stdout.take().unwrap()));
        let mut client = server.connect();
        assert_eq!(client.begin("/large").status, 200, "{way}");
        server.signal(Signal::TERM);
        let lines: Vec<_> = log.lines().map(Result::unwrap).collect();
        let line = lines.first().unwrap_or_else(|| panic!("{way}: no line"));
        assert!(line.contains("\"GET /large HTTP/1.1\" 200 "), "{way}: {line}");
        assert_eq!(lines.len(), 1, "{way}: {lines:?}");
    }
}

/// On a machine with more to do than it can, the process may get no CPU while the grace passes and
/// for some time after it.
#[test]
fn what_a_late_grace_ends_is_logged() {
    let root = site_with_large_file();
    for way in ways::some() {
        let mut server = Server::start_with(way, root.path(), &["--grace", "200ms"]);
        let log = BufReader::new(Patient(server.stdout.take().unwrap()));
        let mut client = server.connect();
        assert_eq!(client.begin("/large").status, 200, "{way}");
        server.signal(Signal::TERM);
        until_refused(&server, way);
        server.signal(Signal::STOP);
        std::thread::sleep(Duration::from_millis(1500));
        server.signal(Signal::CONT);
        let lines: Vec<_> = log.lines().map(Result::unwrap).collect();
        assert_eq!(lines.len(), 1, "{way}: {lines:?}");
        expect_success(server, way);
    }
}

/// The second signal comes, most likely, before the log's batch is written.
#[test]
fn lines_of_answered_requests_survive_a_second_signal() {
    let root = site_with_large_file();
    fs::write(root.path().join("small"), "small").unwrap();
    for way in ways::some() {
        let mut server = Server::start_with(way, root.path(), &["--grace", "1h"]);
        let log = BufReader::new(Patient(server.stdout.take().unwrap()));
        let mut stalled = server.connect();
        assert_eq!(stalled.begin("/large").status, 200, "{way}");
        // A client may have an answer before its line is in the batch, but not the next answer.
        let mut client = server.connect();
        assert_eq!(client.get("/small").body, b"small", "{way}");
        assert_eq!(client.get("/small").body, b"small", "{way}");
        server.signal(Signal::TERM);
        until_refused(&server, way);
        server.signal(Signal::TERM);
        let lines: Vec<_> = log.lines().map(Result::unwrap).collect();
        assert!(lines.iter().any(|line| line.contains("\"GET /small ")), "{way}: {lines:?}");
        expect_success(server, way);
    }
}

#[test]
fn a_second_signal_ends_everything() {
    let root = site_with_large_file();
    for way in ways::layouts() {
        for second in [Signal::TERM, Signal::INT] {
            let server = Server::start_with(way, root.path(), PATIENT);
            let mut client = server.connect();
            assert_eq!(client.begin("/large").status, 200, "{way}");
            server.signal(Signal::TERM);
            until_refused(&server, way);
            server.signal(second);
            expect_success(server, way);
            assert!(client.drain() < LARGE, "{way}, {second:?}");
        }
    }
}

fn site_with_large_file() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    File::create(root.path().join("large")).unwrap().set_len(LARGE as u64).unwrap();
    root
}

fn until_refused(server: &Server, way: Way) {
    server.until(&format!("{way}: a connection is refused"), || {
        let refused = TcpStream::connect(server.address).map_err(|error| error.kind());
        refused.is_err_and(|kind| kind == ErrorKind::ConnectionRefused)
    });
}

fn expect_success(server: Server, way: Way) {
    let (status, said) = server.wait();
    assert_eq!(status.code(), Some(0), "{way}: {said}");
    assert_eq!(said, "", "{way}");
}
