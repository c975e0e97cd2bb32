//! Streams that share a connection: resets, windows, cold and truncated files.

use karez_http::h2::{ErrorCode, FrameEncoder, PREFACE, kind};
use karez_reactor::{Model, Topology};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::time::Duration;

use crate::cold_files::write_cold;
use crate::files::pattern;
use crate::http2_client::{Http2Client, INITIAL_WINDOW, frame, request};
use crate::layouts;
use crate::server::Server;
use crate::timeouts::TimedReader;

/// A window that a whole body fits into.
const WIDE: &[(u16, u32)] = &[(INITIAL_WINDOW, 1 << 30)];

#[test]
fn streams_of_one_connection_are_interleaved() {
    let root = tempfile::tempdir().unwrap();
    let contents = [pattern(3 << 20), pattern(1 << 20), pattern(70_000)];
    for (number, content) in contents.iter().enumerate() {
        fs::write(root.path().join(number.to_string()), content).unwrap();
    }
    for layout in layouts::all() {
        let server = Server::start(layout, root.path());
        let mut client = Http2Client::connect(&server, &[]);
        let streams = [1_u32, 3, 5];
        let requests = streams.iter().enumerate();
        let requests: Vec<_> = requests
            .flat_map(|(number, &stream)| request(stream, "GET", &format!("/{number}"), &[], true))
            .collect();
        client.send(&requests);
        for (number, stream) in streams.into_iter().enumerate() {
            let response = client.finish(stream);
            assert!(response.ended && response.body == contents[number], "{layout}: {stream}");
        }
        // The shortest does not wait for the longest.
        let last = |stream| client.order.iter().rposition(|other| *other == stream);
        assert!(last(5) < last(1), "{layout}");
    }
}

#[test]
fn a_reset_stream_ends_alone() {
    let root = tempfile::tempdir().unwrap();
    let content = pattern(4 << 20);
    fs::write(root.path().join("large"), &content).unwrap();
    for layout in layouts::all() {
        let mut server = Server::start_with(layout, root.path(), &[]);
        let log = BufReader::new(TimedReader(server.stdout.take().unwrap()));
        // The stream that is reset cannot end before.
        let mut client = Http2Client::connect(&server, &[(INITIAL_WINDOW, 1 << 20)]);
        client.window(0, 1 << 29);
        client.opens_windows = false;
        client.get(1, "/large");
        client.get(3, "/large");
        client.window(3, 4 << 20);
        client.read_until(|client| client.response(1).body.len() > 100_000);
        client.reset(1);
        let other = client.finish(3);
        let same = content.iter().zip(&other.body).take_while(|(one, two)| one == two).count();
        let found = (other.ended, other.reset, other.body.len(), same);
        assert_eq!(found, (true, None, content.len(), content.len()), "{layout}");
        let cut = client.response(1);
        assert!(content.starts_with(&cut.body) && !cut.ended, "{layout}");
        let next = client.request(5, "GET", "/missing", &[]);
        assert_eq!(next.status, 404, "{layout}");
        let lines: Vec<_> = log.lines().map(Result::unwrap).take(3).collect();
        let logged = |line: &&String| line.contains("\"GET /large HTTP/2.0\" 200 ");
        assert_eq!(lines.iter().filter(logged).count(), 2, "{layout}: {lines:?}");
        let short = |line: &&String| logged(line) && !line.ends_with(" 4194304");
        assert_eq!(lines.iter().filter(short).count(), 1, "{layout}: {lines:?}");
    }
}

#[test]
fn a_reset_response_in_memory_logs_the_bytes_sent() {
    let root = tempfile::tempdir().unwrap();
    for layout in layouts::each_model() {
        let mut server = Server::start_with(layout, root.path(), &[]);
        let log = BufReader::new(TimedReader(server.stdout.take().unwrap()));
        let mut client = Http2Client::connect(&server, &[(INITIAL_WINDOW, 5)]);
        client.opens_windows = false;
        client.get(1, "/missing");
        client.read_until(|client| client.response(1).body.len() == 5);
        client.reset(1);
        let line = log.lines().next().unwrap().unwrap();
        assert!(line.ends_with("\"GET /missing HTTP/2.0\" 404 5"), "{layout}: {line}");
    }
}

#[test]
fn a_malformed_request_is_logged_with_400() {
    let root = tempfile::tempdir().unwrap();
    for layout in layouts::each_model() {
        let mut server = Server::start_with(layout, root.path(), &[]);
        let log = BufReader::new(TimedReader(server.stdout.take().unwrap()));
        let mut client = Http2Client::connect(&server, &[]);
        client.send(&request(1, "GET", "/a", &[("connection", "close")], true));
        let response = client.finish(1);
        let found = (response.status, response.reset);
        assert_eq!(found, (0, Some(ErrorCode::PROTOCOL_ERROR)), "{layout}");
        let line = log.lines().next().unwrap().unwrap();
        assert!(line.ends_with("\"GET /a HTTP/2.0\" 400 0"), "{layout}: {line}");
    }
}

#[test]
fn the_receive_of_the_preface_counts_as_a_cost() {
    let root = tempfile::tempdir().unwrap();
    for layout in layouts::each_model().filter(|layout| !layout.model.is_completion()) {
        let mut server = Server::start_with(layout, root.path(), &["--explain", "--log", "json"]);
        let log = BufReader::new(TimedReader(server.stdout.take().unwrap()));
        let mut client = Http2Client::connect_silently(server.address);
        let mut bytes = PREFACE.to_vec();
        FrameEncoder::new(&mut bytes).settings(&[]);
        bytes.extend(request(1, "GET", "/missing", &[], true));
        client.send(&bytes);
        assert_eq!(client.finish(1).status, 404, "{layout}");
        let line = log.lines().next().unwrap().unwrap();
        let entry: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(entry["calls"]["recvfrom"].as_u64() >= Some(1), "{layout}: {line}");
    }
}

#[test]
fn a_request_is_served_beside_a_fast_download() {
    let root = tempfile::tempdir().unwrap();
    let size = 256 << 20;
    File::create(root.path().join("huge")).unwrap().set_len(size).unwrap();
    fs::write(root.path().join("small"), "small").unwrap();
    for layout in layouts::each_model() {
        let server = Server::start(layout, root.path());
        let mut client = Http2Client::connect(&server, WIDE);
        client.window(0, 1 << 30);
        client.opens_windows = false;
        client.get(1, "/huge");
        client.read_until(|client| client.response(1).status == 200);
        client.get(3, "/small");
        let small = client.finish(3);
        assert_eq!(small.body, b"small", "{layout}");
        assert!(!client.response(1).ended, "{layout}: the small file waited for the huge one");
    }
}

#[test]
fn a_cold_stream_does_not_hold_up_another() {
    let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let root = directory.path();
    let size = 3 << 20;
    fs::write(root.join("hot"), pattern(200_000)).unwrap();
    for layout in layouts::all() {
        let server = Server::start(layout, root);
        assert_eq!(server.get("/hot").body, pattern(200_000), "{layout}");
        write_cold(&root.join("cold"), size);
        let mut client = Http2Client::connect(&server, WIDE);
        client.window(0, 1 << 29);
        client.send(
            &[request(1, "GET", "/cold", &[], true), request(3, "GET", "/hot", &[], true)].concat(),
        );
        let hot = client.finish(3);
        assert!(hot.ended && hot.body == pattern(200_000), "{layout}");
        let cold = client.finish(1);
        assert!(cold.ended && cold.body == pattern(size), "{layout}");
        if layout.topology == Topology::Workers && layout.model == Model::EpollEdge {
            let last = |stream| client.order.iter().rposition(|other| *other == stream);
            assert!(last(3) < last(1), "{layout}: the hot file waited for the cold one");
        }
    }
}

#[test]
fn a_file_that_shrinks_resets_its_stream_only() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("shrinks");
    fs::write(root.path().join("other"), pattern(300_000)).unwrap();
    for layout in layouts::all() {
        fs::write(&path, pattern(400_000)).unwrap();
        let mut server = Server::start(layout, root.path());
        let mut client = Http2Client::connect(&server, &[]);
        shrink(&path, &mut server, &mut client, ("/other", 300_000), &layout.to_string());
    }
}

/// Shrinks the file of a response of 400,000 bytes while it is sent, on a new connection: its stream is
/// reset, and others go on. `other`: another file, and its size.
pub fn shrink(
    path: &Path,
    server: &mut Server,
    client: &mut Http2Client,
    (other, size): (&str, usize),
    what: &str,
) {
    client.opens_windows = false;
    client.get(1, "/shrinks");
    client.read_until(|client| client.response(1).body.len() == 65_535);
    File::options().write(true).open(path).unwrap().set_len(100_000).unwrap();
    client.opens_windows = true;
    client.window(0, 1 << 20);
    client.get(3, other);
    client.window(1, 1 << 20);
    let second = client.finish(3);
    assert!(second.ended && second.body == pattern(size), "{what}");
    let short = client.finish(1);
    assert_eq!(short.reset, Some(ErrorCode::INTERNAL_ERROR), "{what}");
    assert!(short.body[..100_000] == pattern(400_000)[..100_000], "{what}");
    assert!(short.body[100_000..].iter().all(|byte| *byte == 0), "{what}");
    let mut line = String::new();
    server.stderr.read_line(&mut line).unwrap();
    assert!(line.contains("/shrinks") && line.contains("stream reset"), "{what}: {line}");
    assert_eq!(client.request(5, "GET", "/missing", &[]).status, 404, "{what}");
}

#[test]
fn a_client_that_opens_no_window_is_timed_out() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("f"), pattern(100_000)).unwrap();
    layouts::concurrently(layouts::all(), |layout| {
        let flags = ["--log", "off", "--send-timeout", "300ms"];
        let server = Server::start_with(layout, root.path(), &flags);
        let mut client = Http2Client::connect(&server, &[(INITIAL_WINDOW, 10)]);
        client.opens_windows = false;
        client.get(1, "/f");
        client.get(3, "/f");
        client.read_until(|client| client.response(1).body.len() == 10);
        client.window(1, 5);
        for (stream, bytes) in [(1, 15), (3, 10)] {
            let response = client.finish(stream);
            assert_eq!(response.reset, Some(ErrorCode::CANCEL), "{layout}");
            assert_eq!(response.body.len(), bytes, "{layout}");
        }
        let (next, empty) = (client.request(5, "HEAD", "/f", &[]), client.responses.len());
        assert_eq!((next.status, empty), (200, 3), "{layout}: the connection goes on");
    });
}

/// The client opens its window all the time, but the rate is one that no client reaches.
#[test]
fn a_client_that_opens_its_window_slowly_is_timed_out() {
    let root = tempfile::tempdir().unwrap();
    File::create(root.path().join("f")).unwrap().set_len(64 << 20).unwrap();
    layouts::concurrently(layouts::each_model(), |layout| {
        let flags = ["--log", "off", "--send-timeout", "300ms", "--min-rate", "1G"];
        let server = Server::start_with(layout, root.path(), &flags);
        let mut client = Http2Client::connect(&server, &[(INITIAL_WINDOW, 1000)]);
        client.opens_windows = false;
        client.window(0, 1 << 30);
        client.get(1, "/f");
        while !client.response(1).is_over() {
            let before = client.responses.get(&1).map_or(0, |response| response.body.len());
            let goes_on = |client: &Http2Client| {
                let response = client.responses.get(&1);
                response.is_some_and(|it| it.body.len() > before || it.is_over())
            };
            assert!(client.read_until(goes_on), "{layout}: the connection ended");
            client.window(1, 1000);
        }
        assert_eq!(client.response(1).reset, Some(ErrorCode::CANCEL), "{layout}");
        assert_eq!(client.request(3, "HEAD", "/f", &[]).status, 200, "{layout}: it goes on");
    });
}

#[test]
fn bodies_of_requests_are_discarded_within_a_limit() {
    let root = tempfile::tempdir().unwrap();
    for layout in layouts::each_model() {
        let server = Server::start(layout, root.path());
        let mut client = Http2Client::connect(&server, &[]);
        client.send(&request(1, "POST", "/", &[], false));
        client.frame(kind::DATA, 0, 1, &pattern(10_000));
        client.frame(kind::DATA, 1, 1, &pattern(10_000));
        let answer = client.finish(1);
        assert_eq!((answer.status, answer.reset), (405, None), "{layout}");
        // It waits for `100 Continue`, which is not sent: the answer is final.
        let fields = [("expect", "100-continue"), ("content-length", "9")];
        client.send(&request(3, "POST", "/", &fields, false));
        let early = |client: &Http2Client| client.response(3).reset.is_some();
        assert!(client.read_until(early), "{layout}");
        let answer = client.response(3);
        assert_eq!((answer.status, answer.ended), (405, true), "{layout}");
        assert_eq!(answer.reset, Some(ErrorCode::NO_ERROR), "{layout}");
        // More than is discarded: the answer comes, and the rest is not wanted.
        client.send(&request(5, "POST", "/", &[], false));
        let (mut sent, mut ended) = (0, false);
        while !ended {
            let window = |stream| 65_535 + client.windows.get(&stream).copied().unwrap_or(0);
            // 20,000 bytes of the other bodies have been sent, too.
            if sent + 16_384 <= window(5) && sent + 36_384 <= window(0) {
                client.frame(kind::DATA, 0, 5, &[0; 16_384]);
                sent += 16_384;
            } else {
                ended = !client.read_frame() || client.response(5).reset.is_some();
            }
        }
        let answer = client.response(5);
        assert_eq!((answer.status, answer.ended), (405, true), "{layout}");
        assert_eq!(answer.reset, Some(ErrorCode::NO_ERROR), "{layout}");
        assert!(sent > 1 << 20, "{layout}: {sent} bytes");
    }
}

#[test]
fn requests_that_end_with_the_connection_are_served() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("f"), pattern(50_000)).unwrap();
    for layout in layouts::all() {
        let server = Server::start(layout, root.path());
        let mut client = Http2Client::connect(&server, &[]);
        client.opens_windows = false;
        client.get(1, "/f");
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        client.acknowledges = false;
        let response = client.finish(1);
        assert!(response.ended && response.body == pattern(50_000), "{layout}");
        client.read_to_end();
    }
}

#[test]
fn the_preface_may_arrive_in_pieces() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("f"), "f").unwrap();
    for layout in layouts::each_model() {
        let server = Server::start(layout, root.path());
        for piece in [1, 13, 14, 15, 23, 24, 25] {
            let mut client = Http2Client::connect_silently(server.address);
            let mut bytes = karez_http::h2::PREFACE.to_vec();
            bytes.extend(frame(kind::SETTINGS, 0, 0, b""));
            bytes.extend(request(1, "GET", "/f", &[], true));
            for piece in bytes.chunks(piece) {
                client.send(piece);
                if bytes.len() / piece.len() < 10 {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
            assert_eq!(client.finish(1).body, b"f", "{layout}: {piece}");
        }
        // The beginning of a preface, and then another request line.
        let mut http1 = server.connect();
        http1.send("P");
        std::thread::sleep(Duration::from_millis(10));
        http1.send("OST /f HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(http1.response(false).status, 405, "{layout}");
    }
}
