//! The ends of connections of HTTP/2: shutdown, eviction, timeouts, floods.

use karez_http::h2::{ErrorCode, FrameEncoder, PREFACE, kind};
use rustix::process::Signal;
use std::fs;
use std::io::Write as _;
use std::time::Instant;

use crate::files::pattern;
use crate::http2_client::{Http2Client, frame, request};
use crate::layouts::{self, Layout};
use crate::server::Server;

fn expect_success(server: Server, layout: Layout) {
    let (status, printed) = server.wait();
    assert_eq!(status.code(), Some(0), "{layout}: {printed}");
    assert_eq!(printed, "", "{layout}");
}

#[test]
fn goaway_is_sent_at_a_shutdown_and_streams_finish() {
    let root = tempfile::tempdir().unwrap();
    let content = pattern(2 << 20);
    fs::write(root.path().join("large"), &content).unwrap();
    for layout in layouts::all() {
        let flags = ["--log", "off", "--grace", "1h"];
        let server = Server::start_with(layout, root.path(), &flags);
        let mut client = Http2Client::connect(&server, &[]);
        client.opens_windows = false;
        client.get(1, "/large");
        client.read_until(|client| client.response(1).body.len() == 65_535);
        let mut idle = Http2Client::connect(&server, &[]);
        assert_eq!(idle.request(1, "GET", "/missing", &[]).status, 404, "{layout}");
        server.signal(Signal::TERM);
        // An idle connection ends at once.
        idle.read_to_end();
        assert_eq!(idle.goaway, Some((1, ErrorCode::NO_ERROR)), "{layout}");
        client.opens_windows = true;
        client.window(0, 1 << 16);
        client.window(1, 1 << 16);
        let response = client.finish(1);
        assert!(response.ended && response.body == content, "{layout}");
        client.read_to_end();
        assert_eq!(client.goaway, Some((1, ErrorCode::NO_ERROR)), "{layout}");
        drop((client, idle));
        expect_success(server, layout);
    }
}

#[test]
fn the_grace_period_ends_streams_without_a_window() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("large"), pattern(2 << 20)).unwrap();
    layouts::concurrently(layouts::all(), |layout| {
        let flags = ["--log", "off", "--grace", "200ms", "--send-timeout", "1h"];
        let server = Server::start_with(layout, root.path(), &flags);
        let mut client = Http2Client::connect(&server, &[]);
        client.opens_windows = false;
        client.get(1, "/large");
        client.read_until(|client| client.response(1).body.len() == 65_535);
        server.signal(Signal::TERM);
        expect_success(server, layout);
        client.read_to_end();
        assert!(!client.response(1).ended, "{layout}");
    });
}

#[test]
fn an_evicted_connection_gets_goaway() {
    let root = tempfile::tempdir().unwrap();
    for layout in layouts::each_model() {
        let server =
            Server::start_with(layout, root.path(), &["--log", "off", "--max-connections", "1"]);
        let mut idle = Http2Client::connect(&server, &[]);
        assert_eq!(idle.request(1, "GET", "/missing", &[]).status, 404, "{layout}");
        // The acknowledgement of the settings may be on its way.
        idle.frame(kind::PING, 0, 0, &[0; 8]);
        idle.read_until(|client| client.pongs == 1);
        assert_eq!(server.get("/missing").status, 404, "{layout}");
        idle.read_to_end();
        assert_eq!(idle.goaway, Some((1, ErrorCode::NO_ERROR)), "{layout}");
    }
}

#[test]
fn timeouts_end_connections() {
    let root = tempfile::tempdir().unwrap();
    layouts::concurrently(layouts::each_model(), |layout| {
        let flags = ["--log", "off", "--header-timeout", "300ms", "--idle-timeout", "400ms"];
        let server = Server::start_with(layout, root.path(), &flags);
        let ends = |bytes: &[u8], acknowledges: bool| {
            let mut client = Http2Client::connect_silently(server.address);
            client.acknowledges = acknowledges;
            client.send(bytes);
            client.read_to_end();
            client.goaway
        };
        let mut greeting = PREFACE.to_vec();
        FrameEncoder::new(&mut greeting).settings(&[]);
        let started = Instant::now();
        let idle = ends(&greeting, true);
        assert_eq!(idle, Some((0, ErrorCode::NO_ERROR)), "{layout}: idle");
        assert!(started.elapsed().as_millis() >= 400, "{layout}");
        assert_eq!(ends(&PREFACE[..20], false), Some((0, ErrorCode::NO_ERROR)), "{layout}");
        let part = [&greeting[..], &request(1, "GET", "/", &[], true)[..12]].concat();
        assert_eq!(ends(&part, true), Some((0, ErrorCode::NO_ERROR)), "{layout}: a frame");
        // A body that does not arrive.
        let mut client = Http2Client::connect(&server, &[]);
        client.send(&request(1, "POST", "/", &[], false));
        assert_eq!(client.finish(1).status, 408, "{layout}");
    });
}

#[test]
fn settings_have_to_be_acknowledged() {
    let root = tempfile::tempdir().unwrap();
    layouts::concurrently(layouts::each_model(), |layout| {
        let flags = ["--log", "off", "--header-timeout", "300ms"];
        let server = Server::start_with(layout, root.path(), &flags);
        let mut client = Http2Client::connect(&server, &[]);
        let mut received = Vec::new();
        std::io::Read::read_to_end(&mut client.stream, &mut received).unwrap();
        let goaway = frame(kind::GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 4]);
        let found = received.windows(8).any(|bytes| *bytes == goaway[9..]);
        assert!(found, "{layout}: {received:?}");
    });
}

/// A frame that is sent again and again; `None` where each time is another stream.
fn flood(name: &str, number: u32) -> Vec<u8> {
    let stream = 2 * number + 1;
    match name {
        "ping" => frame(kind::PING, 0, 0, &[0; 8]),
        "settings" => frame(kind::SETTINGS, 0, 0, b""),
        "priority" => frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 3, 0]),
        "rapid reset" => [
            request(stream, "GET", "/f", &[], true),
            frame(kind::RST_STREAM, 0, stream, &[0, 0, 0, 8]),
        ]
        .concat(),
        "continuation" if number == 0 => frame(kind::HEADERS, 0, 1, b"\x82"),
        "continuation" => frame(kind::CONTINUATION, 0, 1, b""),
        "made you reset" => [
            request(stream, "GET", "/f", &[], true),
            frame(kind::WINDOW_UPDATE, 0, stream, &[0; 4]),
        ]
        .concat(),
        other => panic!("{other}"),
    }
}

#[test]
fn floods_end_the_connection() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("f"), pattern(1 << 20)).unwrap();
    let names = ["ping", "settings", "priority", "rapid reset", "continuation", "made you reset"];
    for layout in layouts::each_model() {
        let server = Server::start(layout, root.path());
        for name in names {
            let mut client = Http2Client::connect(&server, &[]);
            client.opens_windows = false;
            // Its acknowledgement must not be within a field block.
            client.read_until(|client| client.has_settings);
            let mut writer = client.stream.try_clone().unwrap();
            let sending = std::thread::spawn(move || {
                for number in 0..20_000 {
                    if writer.write_all(&flood(name, number)).is_err() {
                        break; // the server has closed the connection
                    }
                }
            });
            client.read_until(|client| client.goaway.is_some());
            let code = client.goaway.map(|(_, code)| code);
            assert_eq!(code, Some(ErrorCode::ENHANCE_YOUR_CALM), "{layout}: {name}");
            drop(client);
            sending.join().unwrap();
        }
        assert_eq!(server.get("/missing").status, 404, "{layout}");
    }
}

#[test]
fn http2_may_be_turned_off() {
    let root = tempfile::tempdir().unwrap();
    for layout in layouts::each_model() {
        let server = Server::start_with(layout, root.path(), &["--log", "off", "--http1-only"]);
        let mut client = server.connect();
        client.send(PREFACE);
        let answer = client.response(false);
        assert_eq!(answer.status, 505, "{layout}");
        assert_eq!(answer.field("connection"), Some("close"), "{layout}");
    }
}

#[test]
fn a_broken_preface_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    for layout in layouts::each_model() {
        let server = Server::start(layout, root.path());
        let mut client = Http2Client::connect_silently(server.address);
        client.send(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n");
        client.read_to_end();
        let code = client.goaway.map(|(_, code)| code);
        assert_eq!(code, Some(ErrorCode::PROTOCOL_ERROR), "{layout}");
    }
}
