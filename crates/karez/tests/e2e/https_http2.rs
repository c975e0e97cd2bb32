//! HTTP/2 over TLS: the choice by ALPN, records in pieces, and the ends of connections.

use karez_http::h2::{ErrorCode, FrameEncoder, PREFACE, kind};
use rustix::process::Signal;
use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};
use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};

use crate::client::Client;
use crate::files::pattern;
use crate::http2_client::{Http2Client, request};
use crate::http2_streams::shrink;
use crate::https::Authority;
use crate::layouts;
use crate::server::Server;
use crate::socket::Socket;

const BOTH: &[&str] = &["h2", "http/1.1"];

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("f"), pattern(100_000)).unwrap();
    root
}

fn connect(authority: &Authority, server: &Server) -> Http2Client {
    Http2Client::over(authority.connect(server, BOTH), &[])
}

/// Returns whether the connection ends by close_notify. Everything before must have been read.
fn ends_regularly(stream: &mut Socket) -> bool {
    match stream.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => {
            let kinds = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset];
            assert!(kinds.contains(&error.kind()), "{error}");
            false
        }
    }
}

#[test]
fn alpn_chooses_the_protocol() {
    let (authority, root) = (Authority::new(), root());
    for layout in layouts::each_model() {
        let both = authority.serve(layout, root.path(), &[]);
        let http1 = authority.serve(layout, root.path(), &["--http1-only"]);
        for version in [&TLS12, &TLS13] {
            for (offered, wanted, only) in [
                (BOTH, Some("h2"), Some("http/1.1")),
                (&["h2"], Some("h2"), None),
                (&["http/1.1", "h2"], Some("h2"), Some("http/1.1")),
                (&["http/1.1"], Some("http/1.1"), Some("http/1.1")),
                (&[], Some(""), Some("")),
                (&["spdy/3"], None, None),
            ] {
                for (server, wanted) in [(&both, wanted), (&http1, only)] {
                    let context = format!("{layout}: {version:?}: {offered:?}");
                    let config = authority.client(&[version], offered);
                    let connected = Socket::connect_secure(server.address, config.clone());
                    let Some(wanted) = wanted else {
                        let error = connected.err().expect("an alert").to_string();
                        assert!(error.contains("NoApplicationProtocol"), "{context}: {error}");
                        continue;
                    };
                    let mut socket = connected.unwrap();
                    let chosen = socket.tls().alpn_protocol().unwrap_or_default().to_vec();
                    assert_eq!(chosen, wanted.as_bytes(), "{context}");
                    let body = match wanted {
                        "h2" => Http2Client::over(socket, &[]).request(1, "GET", "/f", &[]).body,
                        _ => Client::over(socket).get("/f").body,
                    };
                    assert!(body == pattern(100_000), "{context}");
                    let mut again = Socket::connect_secure(server.address, config).unwrap();
                    let kind = again.tls().handshake_kind();
                    assert_eq!(kind, Some(HandshakeKind::Resumed), "{context}");
                    let chosen = again.tls().alpn_protocol().unwrap_or_default().to_vec();
                    assert_eq!(chosen, wanted.as_bytes(), "{context}");
                }
            }
        }
    }
}

#[test]
fn another_protocol_than_the_chosen_one_is_an_error() {
    let (authority, root) = (Authority::new(), root());
    for layout in layouts::each_model() {
        let server = authority.serve(layout, root.path(), &[]);
        let mut client = Http2Client::silent(authority.connect(&server, BOTH));
        client.send(b"GET /f HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client.read_to_end();
        let code = client.goaway.map(|(_, code)| code);
        assert_eq!(code, Some(ErrorCode::PROTOCOL_ERROR), "{layout}");
        assert!(ends_regularly(&mut client.stream), "{layout}");
        // RFC 9113 §3.2: over TLS HTTP/2 has to be negotiated.
        for protocols in [&["http/1.1"][..], &[]] {
            let mut client = Client::over(authority.connect(&server, protocols));
            client.send(PREFACE);
            let answer = client.response(false);
            assert_eq!((answer.status, answer.field("connection")), (505, Some("close")));
            assert_eq!(client.read_to_end(), b"", "{layout}: close_notify");
        }
    }
}

#[test]
fn records_in_any_pieces_are_served() {
    let (authority, root) = (Authority::new(), root());
    for layout in layouts::each_model() {
        let server = authority.serve(layout, root.path(), &[]);
        let mut bytes = PREFACE.to_vec();
        FrameEncoder::new(&mut bytes).settings(&[]);
        for stream in [1, 3, 5] {
            bytes.extend(request(stream, "GET", "/f", &[], true));
        }
        // A record for each so many bytes, and a send for each so many bytes of records.
        for (record, send) in [(1, 4096), (7, 1), (200, 40), (4096, 1)] {
            let mut client = Http2Client::silent(authority.connect(&server, BOTH));
            let mut sealed = Vec::new();
            for piece in bytes.chunks(record) {
                client.stream.tls().writer().write_all(piece).unwrap();
                while client.stream.tls().wants_write() {
                    client.stream.tls().write_tls(&mut sealed).unwrap();
                }
            }
            for piece in sealed.chunks(send) {
                (&*client.stream).write_all(piece).unwrap();
            }
            for stream in [1, 3, 5] {
                let body = client.finish(stream).body;
                assert!(body == pattern(100_000), "{layout}: {record}, {send}");
            }
        }
    }
}

#[test]
fn keys_are_updated_between_and_within_streams() {
    let (authority, root) = (Authority::new(), root());
    for layout in layouts::each_model() {
        let server = authority.serve(layout, root.path(), &[]);
        let mut client = connect(&authority, &server);
        for stream in [1, 3, 5] {
            client.get(stream, "/f");
            // The window has not been opened, so the server is within the body.
            client.opens_windows = false;
            client.read_until(|client| client.response(stream).body.len() >= 32 << 10);
            client.stream.tls().refresh_traffic_keys().unwrap();
            client.opens_windows = true;
            client.window(0, 100_000);
            client.window(stream, 100_000);
            let response = client.finish(stream);
            assert!(response.ended && response.body == pattern(100_000), "{layout}");
        }
    }
}

#[test]
fn every_regular_end_has_goaway_and_close_notify() {
    let (authority, root) = (Authority::new(), root());
    layouts::concurrently(layouts::each_model(), |layout| {
        let flags = ["--idle-timeout", "400ms", "--header-timeout", "300ms"];
        let server = authority.serve(layout, root.path(), &flags);
        let mut idle = connect(&authority, &server);
        assert_eq!(idle.request(1, "GET", "/missing", &[]).status, 404, "{layout}");
        idle.read_to_end();
        assert_eq!(idle.goaway, Some((1, ErrorCode::NO_ERROR)), "{layout}");
        assert!(ends_regularly(&mut idle.stream), "{layout}");
        // The rest of a record does not arrive.
        let mut cut = connect(&authority, &server);
        assert_eq!(cut.request(1, "GET", "/missing", &[]).status, 404, "{layout}");
        (&*cut.stream).write_all(b"\x17\x03\x03\x00\x40cut").unwrap();
        cut.read_to_end();
        assert_eq!(cut.goaway, Some((1, ErrorCode::NO_ERROR)), "{layout}");
        // The client says that it sends nothing more.
        let mut half = connect(&authority, &server);
        half.opens_windows = false;
        half.acknowledges = false;
        half.send(&request(1, "GET", "/missing", &[], true));
        half.stream.tls().send_close_notify();
        half.stream.flush().unwrap();
        assert_eq!(half.finish(1).status, 404, "{layout}");
        half.read_to_end();
        assert!(ends_regularly(&mut half.stream), "{layout}");

        let server = authority.serve(layout, root.path(), &["--grace", "1h"]);
        let mut open = connect(&authority, &server);
        open.opens_windows = false;
        open.get(1, "/f");
        open.read_until(|client| client.response(1).body.len() == 65_535);
        let mut idle = connect(&authority, &server);
        assert_eq!(idle.request(1, "GET", "/missing", &[]).status, 404, "{layout}");
        server.signal(Signal::TERM);
        idle.read_to_end();
        assert_eq!(idle.goaway, Some((1, ErrorCode::NO_ERROR)), "{layout}");
        assert!(ends_regularly(&mut idle.stream), "{layout}");
        open.opens_windows = true;
        open.window(0, 1 << 16);
        open.window(1, 1 << 16);
        let response = open.finish(1);
        assert!(response.ended && response.body == pattern(100_000), "{layout}");
        open.read_to_end();
        assert!(ends_regularly(&mut open.stream), "{layout}");
        let (status, printed) = server.wait();
        assert_eq!((status.code(), &printed[..]), (Some(0), ""), "{layout}");
    });
}

#[test]
fn an_evicted_connection_gets_goaway_and_close_notify() {
    let (authority, root) = (Authority::new(), root());
    for layout in layouts::each_model() {
        let server = authority.serve(layout, root.path(), &["--max-connections", "1"]);
        let mut idle = connect(&authority, &server);
        assert_eq!(idle.request(1, "GET", "/missing", &[]).status, 404, "{layout}");
        idle.frame(kind::PING, 0, 0, &[0; 8]);
        idle.read_until(|client| client.pongs == 1);
        let mut next = connect(&authority, &server);
        assert_eq!(next.request(1, "GET", "/missing", &[]).status, 404, "{layout}");
        idle.read_to_end();
        assert_eq!(idle.goaway, Some((1, ErrorCode::NO_ERROR)), "{layout}");
        assert!(ends_regularly(&mut idle.stream), "{layout}");
    }
}

#[test]
fn a_file_that_shrinks_resets_its_stream_only() {
    let (authority, root) = (Authority::new(), root());
    let path = root.path().join("shrinks");
    for layout in layouts::each_model() {
        fs::write(&path, pattern(400_000)).unwrap();
        let mut server = authority.serve(layout, root.path(), &[]);
        let mut client = connect(&authority, &server);
        shrink(&path, &mut server, &mut client, ("/f", 100_000), &layout.to_string());
    }
}

#[test]
fn a_record_that_does_not_open_ends_the_connection_by_its_alert() {
    let (authority, root) = (Authority::new(), root());
    for layout in layouts::each_model() {
        let server = authority.serve(layout, root.path(), &[]);
        let mut client = connect(&authority, &server);
        client.opens_windows = false;
        client.get(1, "/f");
        client.read_until(|client| client.response(1).body.len() == 65_535);
        (&*client.stream)
            .write_all(b"\x17\x03\x03\x00\x20garbage of thirty-two octets, no")
            .unwrap();
        let end = client.stream.read_to_end(&mut Vec::new()).unwrap_err();
        assert!(end.to_string().contains("BadRecordMac"), "{layout}: {end}");
        let next = connect(&authority, &server).request(1, "GET", "/f", &[]);
        assert_eq!(next.status, 200, "{layout}");
    }
}

#[test]
fn a_client_that_does_not_read_is_cut_off_without_close_notify() {
    let (authority, root) = (Authority::new(), root());
    fs::write(root.path().join("large"), pattern(16 << 20)).unwrap();
    layouts::concurrently(layouts::each_model(), |layout| {
        let server = authority.serve(layout, root.path(), &["--send-timeout", "300ms"]);
        let sockets = || {
            let descriptors = server.descriptors();
            descriptors.values().filter(|target| target.starts_with("socket:")).count()
        };
        let before = sockets();
        let mut client = connect(&authority, &server);
        client.window(0, 1 << 30);
        client.get(1, "/large");
        client.window(1, 1 << 30);
        // Only the server can end the connection, since the client keeps its socket.
        server.wait_until("the connection is open", || sockets() > before);
        server.wait_until("it is closed", || sockets() <= before);
        let mut rest = Vec::new();
        let end = client.stream.read_to_end(&mut rest);
        assert!(end.is_err() && rest.len() < 16 << 20, "{layout}: {end:?}");
    });
}

#[test]
fn plain_listeners_redirect_streams_to_https() {
    let (authority, root) = (Authority::new(), root());
    for layout in layouts::each_model() {
        let flags = ["--redirect-https", "--log", "off"];
        let (server, secure) = authority.serve_both(layout, root.path(), &flags);
        let mut client = Http2Client::connect(&server, &[]);
        for (stream, target) in [(1, "/f?a=b"), (3, "/missing")] {
            client.get(stream, target);
            let answer = client.finish(stream);
            let location = format!("https://test:{}{target}", secure.port());
            let found = answer.fields.iter().find(|(name, _)| name == "location");
            assert_eq!(answer.status, 308, "{layout}");
            assert_eq!(found.unwrap().1, location, "{layout}");
        }
    }
}
