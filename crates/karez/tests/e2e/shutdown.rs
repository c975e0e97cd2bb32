//! Graceful shutdown: idle connections close at once, running responses finish, and the exit code
//! is 0.

use rustix::process::Signal;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, ErrorKind};
use std::net::TcpStream;

use crate::files::pattern;
use crate::layouts::{self, Layout};
use crate::server::Server;
use crate::timeouts::TimedReader;

/// More than all socket buffers hold.
const LARGE: usize = 64 << 20;

/// Flags with a grace period longer than any test.
const LONG_GRACE: &[&str] = &["--log", "off", "--grace", "1h"];

#[test]
fn sigint_and_sigterm_stop_an_idle_server() {
    let root = tempfile::tempdir().unwrap();
    for layout in layouts::all() {
        for signal in [Signal::TERM, Signal::INT] {
            let server = Server::start_with(layout, root.path(), LONG_GRACE);
            let mut silent = server.connect();
            let mut idle = server.connect();
            assert_eq!(idle.get("/").status, 200, "{layout}");
            server.signal(signal);
            assert_eq!(idle.read_to_end(), b"", "{layout}, {signal:?}");
            // The connection may not have been accepted yet, and is then reset.
            assert_eq!(silent.drain(), 0, "{layout}, {signal:?}");
            expect_success(server, layout);
        }
    }
}

#[test]
fn running_responses_finish_and_new_connections_are_refused() {
    const SIZE: usize = 24 << 20;
    let root = tempfile::tempdir().unwrap();
    let content = pattern(SIZE);
    fs::write(root.path().join("large"), &content).unwrap();
    for layout in layouts::all_with_vias() {
        let server = Server::start_with(layout, root.path(), LONG_GRACE);
        let mut client = server.connect();
        client.limit_receive_buffer();
        assert_eq!(client.start_get("/large").status, 200, "{layout}");
        let first = client.read_body(1 << 20);
        server.signal(Signal::TERM);
        wait_until_refused(&server, layout);
        let others = client.read_body(SIZE - first.len());
        assert!([first, others].concat() == content, "{layout}: other bytes");
        assert_eq!(client.read_to_end(), b"", "{layout}");
        expect_success(server, layout);
    }
}

#[test]
fn response_after_shutdown_has_connection_close() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), "file").unwrap();
    for layout in layouts::all() {
        let server = Server::start_with(layout, root.path(), LONG_GRACE);
        let mut client = server.connect();
        // One segment, so the first response proves that the server has the start of the second
        // request.
        client.send("GET /file HTTP/1.1\r\nHost: test\r\n\r\nGET /file HTTP/1.1\r\n");
        assert_eq!(client.response(false).field("connection"), None, "{layout}");
        server.signal(Signal::TERM);
        wait_until_refused(&server, layout);
        client.send("Host: test\r\n\r\n");
        let response = client.response(false);
        assert_eq!(response.body, b"file", "{layout}");
        assert_eq!(response.field("connection"), Some("close"), "{layout}");
        assert_eq!(client.read_to_end(), b"", "{layout}");
        drop(client);
        expect_success(server, layout);
    }
}

#[test]
fn grace_period_closes_stalled_connections() {
    let root = site_with_large_file();
    layouts::concurrently(layouts::all_with_vias(), |layout| {
        let flags = ["--log", "off", "--grace", "200ms", "--send-timeout", "1h"];
        let server = Server::start_with(layout, root.path(), &flags);
        let mut client = server.connect();
        assert_eq!(client.start_get("/large").status, 200, "{layout}");
        server.signal(Signal::TERM);
        expect_success(server, layout);
        assert!(client.drain() < LARGE, "{layout}");
    });
}

#[test]
fn responses_ended_by_the_grace_period_are_logged() {
    let root = site_with_large_file();
    layouts::concurrently(layouts::all(), |layout| {
        let mut server = Server::start_with(layout, root.path(), &["--grace", "200ms"]);
        let log = BufReader::new(TimedReader(server.stdout.take().unwrap()));
        let mut client = server.connect();
        assert_eq!(client.start_get("/large").status, 200, "{layout}");
        server.signal(Signal::TERM);
        let lines: Vec<_> = log.lines().map(Result::unwrap).collect();
        let line = lines.first().unwrap_or_else(|| panic!("{layout}: no line"));
        assert!(line.contains("\"GET /large HTTP/1.1\" 200 "), "{layout}: {line}");
        assert_eq!(lines.len(), 1, "{layout}: {lines:?}");
    });
}

/// On an overloaded machine the process may get no CPU during the grace period and for some time
/// after it.
#[test]
fn responses_ended_by_a_late_grace_period_are_logged() {
    let root = site_with_large_file();
    layouts::concurrently(layouts::sample(), |layout| {
        let start = || Server::start_with(layout, root.path(), &["--grace", "200ms"]);
        let (mut server, later) = (start(), start());
        let log = BufReader::new(TimedReader(server.stdout.take().unwrap()));
        let (mut client, mut stalled) = (server.connect(), later.connect());
        assert_eq!(client.start_get("/large").status, 200, "{layout}");
        assert_eq!(stalled.start_get("/large").status, 200, "{layout}");
        server.signal(Signal::TERM);
        wait_until_refused(&server, layout);
        server.signal(Signal::STOP);
        // The other server's grace period begins later, so the first one's has passed when it exits.
        later.signal(Signal::TERM);
        expect_success(later, layout);
        server.signal(Signal::CONT);
        let lines: Vec<_> = log.lines().map(Result::unwrap).collect();
        assert_eq!(lines.len(), 1, "{layout}: {lines:?}");
        expect_success(server, layout);
    });
}

/// The second signal usually arrives before the log's batch is written.
#[test]
fn log_lines_are_written_despite_a_second_signal() {
    let root = site_with_large_file();
    fs::write(root.path().join("small"), "small").unwrap();
    for layout in layouts::sample() {
        let mut server = Server::start_with(layout, root.path(), &["--grace", "1h"]);
        let log = BufReader::new(TimedReader(server.stdout.take().unwrap()));
        let mut stalled = server.connect();
        assert_eq!(stalled.start_get("/large").status, 200, "{layout}");
        // A client may receive a response before its line is in the batch, but not the next
        // response.
        let mut client = server.connect();
        assert_eq!(client.get("/small").body, b"small", "{layout}");
        assert_eq!(client.get("/small").body, b"small", "{layout}");
        server.signal(Signal::TERM);
        wait_until_refused(&server, layout);
        server.signal(Signal::TERM);
        let lines: Vec<_> = log.lines().map(Result::unwrap).collect();
        assert!(lines.iter().any(|line| line.contains("\"GET /small ")), "{layout}: {lines:?}");
        expect_success(server, layout);
    }
}

#[test]
fn second_signal_closes_all_connections() {
    let root = site_with_large_file();
    for layout in layouts::all() {
        for second in [Signal::TERM, Signal::INT] {
            let server = Server::start_with(layout, root.path(), LONG_GRACE);
            let mut client = server.connect();
            assert_eq!(client.start_get("/large").status, 200, "{layout}");
            server.signal(Signal::TERM);
            wait_until_refused(&server, layout);
            server.signal(second);
            expect_success(server, layout);
            assert!(client.drain() < LARGE, "{layout}, {second:?}");
        }
    }
}

fn site_with_large_file() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    File::create(root.path().join("large")).unwrap().set_len(LARGE as u64).unwrap();
    root
}

pub fn wait_until_refused(server: &Server, layout: Layout) {
    server.wait_until(&format!("{layout}: a connection is refused"), || {
        let refused = TcpStream::connect(server.address).map_err(|error| error.kind());
        refused.is_err_and(|kind| kind == ErrorKind::ConnectionRefused)
    });
}

fn expect_success(server: Server, layout: Layout) {
    let (status, printed) = server.wait();
    assert_eq!(status.code(), Some(0), "{layout}: {printed}");
    assert_eq!(printed, "", "{layout}");
}
