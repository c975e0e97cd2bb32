//! Timeouts for requests, for idle connections and for sending.
//!
//! Each test waits for the server's reaction at its deadline; a server without reaction runs into
//! the client's read timeout.

use karez_reactor::Topology;
use rustix::net::sockopt;
use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _};
use std::time::Duration;

use crate::client::Client;
use crate::files::pattern;
use crate::layouts::{self, Layout};
use crate::server::Server;
use crate::timeouts::TimedReader;

/// Runs a test in all layouts concurrently. The timeouts are long enough for a loaded machine to
/// exchange a few bytes before them.
fn in_every_layout(test: impl Fn(Layout) + Sync) {
    layouts::concurrently(layouts::all(), test);
}

/// Flags with a short timeout for request heads only.
const SHORT_HEADER: &[&str] = &["--log", "off", "--header-timeout", "2s", "--idle-timeout", "1h"];

/// Flags with a short idle timeout only.
const SHORT_IDLE: &[&str] = &["--log", "off", "--header-timeout", "1h", "--idle-timeout", "2s"];

/// More than all socket buffers hold.
const LARGE: usize = 64 << 20;

#[test]
fn partial_head_times_out_with_408() {
    let root = tempfile::tempdir().unwrap();
    in_every_layout(|layout| {
        let server = Server::start_with(layout, root.path(), SHORT_HEADER);
        let mut client = server.connect();
        client.send("GET / HTTP/1.1\r\nHost:");
        expect_408(&mut client, layout);
    });
}

#[test]
fn header_timeout_covers_the_whole_head() {
    let root = tempfile::tempdir().unwrap();
    in_every_layout(|layout| {
        let server = Server::start_with(layout, root.path(), SHORT_HEADER);
        let mut client = server.connect();
        client.send("GET / HTTP/1.1\r\nHost: ");
        // Each byte arrives well before a deadline that would restart at the byte before it.
        let trickled = (0..1000).take_while(|_| {
            client.send("x");
            client.receives_nothing(Duration::from_millis(20))
        });
        assert!(trickled.count() < 1000, "{layout}: the slow request never timed out");
        expect_408(&mut client, layout);
    });
}

#[test]
fn partial_body_times_out_with_408() {
    let root = tempfile::tempdir().unwrap();
    in_every_layout(|layout| {
        let server = Server::start_with(layout, root.path(), SHORT_HEADER);
        for body in
            ["Content-Length: 100\r\n\r\nten bytes.", "Transfer-Encoding: chunked\r\n\r\n64\r\nten"]
        {
            let mut client = server.connect();
            client.send(format!("GET / HTTP/1.1\r\nHost: test\r\n{body}"));
            expect_408(&mut client, layout);
        }
    });
}

#[test]
fn silent_connection_is_closed_without_a_response() {
    let root = tempfile::tempdir().unwrap();
    in_every_layout(|layout| {
        let server = Server::start_with(layout, root.path(), SHORT_HEADER);
        assert_eq!(server.connect().read_to_end(), b"", "{layout}");
    });
}

#[test]
fn idle_connection_is_closed_without_a_response() {
    let root = tempfile::tempdir().unwrap();
    in_every_layout(|layout| {
        let server = Server::start_with(layout, root.path(), SHORT_IDLE);
        let mut client = server.connect();
        assert_eq!(client.get("/").status, 200, "{layout}");
        assert_eq!(client.get("/").status, 200, "{layout}");
        assert_eq!(client.read_to_end(), b"", "{layout}");
    });
}

#[test]
fn partial_request_is_not_idle() {
    let root = tempfile::tempdir().unwrap();
    in_every_layout(|layout| {
        let server = Server::start_with(layout, root.path(), SHORT_IDLE);
        let (mut idle, mut asking) = (server.connect(), server.connect());
        assert_eq!(asking.get("/").status, 200, "{layout}");
        asking.send("GET / HTTP/1.1\r\n");
        assert_eq!(idle.get("/").status, 200, "{layout}");
        assert_eq!(idle.read_to_end(), b"", "{layout}");
        assert!(asking.receives_nothing(Duration::from_millis(400)), "{layout}");
        asking.send("Host: test\r\n\r\n");
        assert_eq!(asking.response(false).status, 200, "{layout}");
    });
}

#[test]
fn stalled_client_is_closed_after_the_send_timeout() {
    let root = tempfile::tempdir().unwrap();
    File::create(root.path().join("large")).unwrap().set_len(LARGE as u64).unwrap();
    layouts::concurrently(layouts::all_with_vias(), |layout| {
        let mut server = Server::start_with(layout, root.path(), &["--send-timeout", "200ms"]);
        let mut client = server.connect();
        client.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
        let line = next_line(&mut server);
        assert!(line.contains("\"GET /large HTTP/1.1\" 200 "), "{layout}: {line}");
        let received = client.drain();
        assert!(received < LARGE, "{layout}: the response is complete");
    });
}

/// The kernel gives the unsent bytes up, which a client that goes on reading would otherwise receive.
#[test]
fn a_response_that_is_not_sent_in_time_is_reset() {
    let root = tempfile::tempdir().unwrap();
    File::create(root.path().join("large")).unwrap().set_len(LARGE as u64).unwrap();
    layouts::concurrently(layouts::each_model(), |layout| {
        let mut server = Server::start_with(layout, root.path(), &["--send-timeout", "200ms"]);
        let mut client = server.connect();
        client.limit_receive_buffer();
        client.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
        next_line(&mut server);
        let end = client.stream.read_to_end(&mut Vec::new());
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset, "{layout}");
    });
}

/// An idle connection with the same timeout shows that the send timeout has passed since the start of
/// the response, of which the server has then sent only a part.
#[test]
fn slow_but_steady_client_receives_everything() {
    const PIECE: usize = 1 << 20;
    const PIECES: usize = 24;
    /// The most that the socket buffers hold.
    const BUFFERED: usize = 8;
    let root = tempfile::tempdir().unwrap();
    let content = pattern(PIECES * PIECE);
    std::fs::write(root.path().join("file"), &content).unwrap();
    let flags = [
        ["--log", "off"],
        ["--header-timeout", "200ms"],
        ["--idle-timeout", "2s"],
        ["--send-timeout", "2s"],
    ];
    // The topology makes no difference to one connection.
    let layouts = layouts::all_with_vias().filter(|layout| layout.topology == Topology::Single);
    layouts::concurrently(layouts, |layout| {
        let server = Server::start_with(layout, root.path(), flags.as_flattened());
        let (mut client, mut idle) = (server.connect(), server.connect());
        // A fixed receive buffer, so that the sender depends on the reader.
        sockopt::set_socket_recv_buffer_size(client.stream.get_ref(), 64 << 10).unwrap();
        assert_eq!(client.start_get("/file").status, 200, "{layout}");
        assert_eq!(idle.request("HEAD", "/file", "").status, 200, "{layout}");
        let mut pieces = content.chunks(PIECE);
        while idle.receives_nothing(Duration::ZERO) {
            let piece = pieces.next().expect("the idle connection is closed earlier");
            assert!(client.read_body(PIECE) == piece, "{layout}: other bytes");
            // The pace: one header timeout of a silent connection.
            assert_eq!(server.connect().read_to_end(), b"", "{layout}");
        }
        assert!(pieces.len() > BUFFERED, "{layout}: the response may have been sent");
        for piece in pieces {
            assert!(client.read_body(PIECE) == piece, "{layout}: other bytes");
        }
    });
}

/// Each read of the client is progress, but the rate is one that no client reaches. Without it the client would
/// receive everything, as the one above does.
#[test]
fn client_below_the_minimum_rate_is_closed() {
    let root = tempfile::tempdir().unwrap();
    File::create(root.path().join("large")).unwrap().set_len(LARGE as u64).unwrap();
    let flags = ["--log", "off", "--send-timeout", "1s", "--min-rate", "1G"];
    layouts::concurrently(layouts::each_model(), |layout| {
        let server = Server::start_with(layout, root.path(), &flags);
        let mut client = server.connect();
        client.limit_receive_buffer();
        assert_eq!(client.start_get("/large").status, 200, "{layout}");
        let (mut received, mut part) = (0, vec![0; 64 << 10]);
        while let Ok(count @ 1..) = client.stream.read(&mut part) {
            received += count;
            // The pace, not a wait for anything.
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(received < LARGE, "{layout}: the response is complete");
        assert_eq!(server.get("/missing").status, 404, "{layout}: it continues");
    });
}

/// Starts a response whose client stops reading, then a request whose header timeout is longer: the
/// log shows which of them ends first. A send timeout that is restarted for each part of a call
/// would expire second.
#[test]
fn send_timeout_is_not_restarted_by_partial_sends() {
    let root = tempfile::tempdir().unwrap();
    File::create(root.path().join("large")).unwrap().set_len(LARGE as u64).unwrap();
    let flags = ["--send-timeout", "2s", "--header-timeout", "3s", "--idle-timeout", "1h"];
    // Concurrently, since each waits for a deadline.
    let mut racing: Vec<_> = layouts::all_with_vias()
        .map(|layout| {
            let server = Server::start_with(layout, root.path(), &flags);
            let mut deaf = server.connect();
            assert_eq!(deaf.start_get("/large").status, 200, "{layout}");
            let mut slow = server.connect();
            slow.send("GET /slow HTTP/1.1\r\nHost:");
            (layout, server, deaf, slow)
        })
        .collect();
    for (layout, server, _deaf, slow) in &mut racing {
        expect_408(slow, *layout);
        let log = BufReader::new(server.stdout.as_mut().map(TimedReader).unwrap());
        let lines: Vec<_> = log.lines().take(2).map(Result::unwrap).collect();
        assert!(lines[0].contains("\"GET /large HTTP/1.1\" 200 "), "{layout}: {lines:?}");
        assert!(lines[1].contains(" 408 "), "{layout}: {lines:?}");
    }
}

fn next_line(server: &mut Server) -> String {
    let mut line = String::new();
    let stdout = server.stdout.as_mut().map(TimedReader).unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    line
}

fn expect_408(client: &mut Client, layout: Layout) {
    let response = client.response(false);
    assert_eq!(response.status, 408, "{layout}");
    assert_eq!(response.field("connection"), Some("close"), "{layout}");
    assert!(client.is_closed(), "{layout}");
}
