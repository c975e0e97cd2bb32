//! Deadlines: how long a peer may take to ask, to rest and to listen.
//!
//! What is awaited is always what the server does at its deadline; one that does nothing is caught
//! by the client's patience.

use karez_reactor::Topology;
use rustix::net::sockopt;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::client::Client;
use crate::files::pattern;
use crate::patience::Patient;
use crate::server::Server;
use crate::ways::{self, Way};

/// Runs a test in every layout at once, for each waits for a deadline. A deadline is long enough for
/// a loaded machine to send and read some bytes before it.
fn in_every_layout(test: impl Fn(Way) + Sync) {
    thread::scope(|scope| {
        for way in ways::layouts() {
            let test = &test;
            scope.spawn(move || test(way));
        }
    });
}

/// Flags with which only the deadline for a request is short.
const SHORT_HEADER: &[&str] = &["--log", "off", "--header-timeout", "2s", "--idle-timeout", "1h"];

/// Flags with which only the deadline for the next request is short.
const SHORT_IDLE: &[&str] = &["--log", "off", "--header-timeout", "1h", "--idle-timeout", "2s"];

/// More than all socket buffers hold.
const LARGE: usize = 64 << 20;

#[test]
fn half_a_head_and_then_silence_is_408() {
    let root = tempfile::tempdir().unwrap();
    in_every_layout(|way| {
        let server = Server::start_with(way, root.path(), SHORT_HEADER);
        let mut client = server.connect();
        client.send("GET / HTTP/1.1\r\nHost:");
        expect_408(&mut client, way);
    });
}

#[test]
fn the_deadline_of_a_head_is_for_all_of_it() {
    let root = tempfile::tempdir().unwrap();
    in_every_layout(|way| {
        let server = Server::start_with(way, root.path(), SHORT_HEADER);
        let mut client = server.connect();
        client.send("GET / HTTP/1.1\r\nHost: ");
        // Each byte comes well before a deadline that began with the byte before it.
        let trickled = (0..1000).take_while(|_| {
            client.send("x");
            client.hears_nothing(Duration::from_millis(20))
        });
        assert!(trickled.count() < 1000, "{way}: the trickle was never cut off");
        expect_408(&mut client, way);
    });
}

#[test]
fn a_body_that_stops_is_408() {
    let root = tempfile::tempdir().unwrap();
    in_every_layout(|way| {
        let server = Server::start_with(way, root.path(), SHORT_HEADER);
        for body in
            ["Content-Length: 100\r\n\r\nten bytes.", "Transfer-Encoding: chunked\r\n\r\n64\r\nten"]
        {
            let mut client = server.connect();
            client.send(format!("GET / HTTP/1.1\r\nHost: test\r\n{body}"));
            expect_408(&mut client, way);
        }
    });
}

#[test]
fn who_never_says_anything_is_left_without_a_word() {
    let root = tempfile::tempdir().unwrap();
    in_every_layout(|way| {
        let server = Server::start_with(way, root.path(), SHORT_HEADER);
        assert_eq!(server.connect().rest(), b"", "{way}");
    });
}

#[test]
fn who_has_no_more_requests_is_left_without_a_word() {
    let root = tempfile::tempdir().unwrap();
    in_every_layout(|way| {
        let server = Server::start_with(way, root.path(), SHORT_IDLE);
        let mut client = server.connect();
        assert_eq!(client.get("/").status, 200, "{way}");
        assert_eq!(client.get("/").status, 200, "{way}");
        assert_eq!(client.rest(), b"", "{way}");
    });
}

#[test]
fn a_request_that_has_begun_is_not_idle() {
    let root = tempfile::tempdir().unwrap();
    in_every_layout(|way| {
        let server = Server::start_with(way, root.path(), SHORT_IDLE);
        let (mut idle, mut asking) = (server.connect(), server.connect());
        assert_eq!(asking.get("/").status, 200, "{way}");
        asking.send("GET / HTTP/1.1\r\n");
        assert_eq!(idle.get("/").status, 200, "{way}");
        assert_eq!(idle.rest(), b"", "{way}");
        assert!(asking.hears_nothing(Duration::from_millis(400)), "{way}");
        asking.send("Host: test\r\n\r\n");
        assert_eq!(asking.response(false).status, 200, "{way}");
    });
}

#[test]
fn a_client_that_takes_nothing_is_cut_off() {
    let root = tempfile::tempdir().unwrap();
    File::create(root.path().join("large")).unwrap().set_len(LARGE as u64).unwrap();
    for way in ways::all() {
        let mut server = Server::start_with(way, root.path(), &["--send-timeout", "200ms"]);
        let mut client = server.connect();
        client.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
        let line = next_line(&mut server);
        assert!(line.contains("\"GET /large HTTP/1.1\" 200 "), "{way}: {line}");
        let came = client.drain();
        assert!(came < LARGE, "{way}: all of it came");
    }
}

#[test]
fn a_client_that_is_slow_but_steady_gets_all() {
    const SIZE: usize = 24 << 20;
    let root = tempfile::tempdir().unwrap();
    let content = pattern(SIZE);
    std::fs::write(root.path().join("file"), &content).unwrap();
    // It takes its time, and how threads are laid out makes no difference to one connection.
    for way in ways::all().filter(|way| way.topology == Topology::Single) {
        let mut server = serve_steady(way, root.path());
        let mut client = server.connect();
        // Its buffer grows no more, so that the sender depends on the reader.
        sockopt::set_socket_recv_buffer_size(client.stream.get_ref(), 64 << 10).unwrap();
        client.begin("/file");
        for piece in content.chunks(1 << 20) {
            assert!(client.take(piece.len()) == piece, "{way}: other bytes");
            // The pace: how long the server puts up with one who says nothing.
            assert_eq!(server.connect().rest(), b"", "{way}");
        }
        let line = next_line(&mut server);
        let entry: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(entry["bytes"], SIZE, "{way}");
        let took = entry["seconds"].as_f64().unwrap();
        assert!(took > 1.0, "{way}: {took} s are within the deadline, so nothing is proved");
    }
}

/// One that is read from no more, on the same server as one that has twice the time for its head,
/// and begins later: which of them ends first is in the log. The timeout of a send that is counted
/// anew for each piece of one call would come second.
#[test]
fn the_send_timeout_lasts_as_long_as_was_asked() {
    let root = tempfile::tempdir().unwrap();
    File::create(root.path().join("large")).unwrap().set_len(LARGE as u64).unwrap();
    let flags = ["--send-timeout", "2s", "--header-timeout", "3s", "--idle-timeout", "1h"];
    // All at once, for each takes its time.
    let mut racing: Vec<_> = ways::all()
        .map(|way| {
            let server = Server::start_with(way, root.path(), &flags);
            let mut deaf = server.connect();
            assert_eq!(deaf.begin("/large").status, 200, "{way}");
            let mut slow = server.connect();
            slow.send("GET /slow HTTP/1.1\r\nHost:");
            (way, server, deaf, slow)
        })
        .collect();
    for (way, server, _deaf, slow) in &mut racing {
        expect_408(slow, *way);
        let log = BufReader::new(server.stdout.as_mut().map(Patient).unwrap());
        let lines: Vec<_> = log.lines().take(2).map(Result::unwrap).collect();
        assert!(lines[0].contains("\"GET /large HTTP/1.1\" 200 "), "{way}: {lines:?}");
        assert!(lines[1].contains(" 408 "), "{way}: {lines:?}");
    }
}

fn serve_steady(way: Way, root: &Path) -> Server {
    let flags = ["--log", "json", "--header-timeout", "100ms", "--send-timeout", "1s"];
    Server::start_with(way, root, &flags)
}

fn next_line(server: &mut Server) -> String {
    let mut line = String::new();
    let stdout = server.stdout.as_mut().map(Patient).unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    line
}

fn expect_408(client: &mut Client, way: Way) {
    let response = client.response(false);
    assert_eq!(response.status, 408, "{way}");
    assert_eq!(response.field("connection"), Some("close"), "{way}");
    assert!(client.is_closed(), "{way}");
}
