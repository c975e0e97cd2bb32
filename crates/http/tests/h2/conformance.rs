//! Stream states, and the error that each violation ends with (RFC 9113 §5.1, §5.4, §6).

use crate::peer::*;
use karez_http::h2::{ConnectionLimits, ErrorCode, PREFACE, StreamBody, StreamId, flag, kind};

fn error_of(pieces: &[Vec<u8>]) -> ErrorCode {
    let mut peer = Peer::new();
    let seen = peer.send_all(pieces);
    let Some(Seen::Error(code)) = seen.last().cloned() else {
        panic!("{seen:?}");
    };
    assert_eq!(peer.goaway(), Some(code));
    assert_eq!(peer.send(&get(99)), [], "nothing follows an error");
    code
}

/// The reset that the last stream ends with; the connection goes on.
fn reset_of(stream: u32, pieces: &[Vec<u8>]) -> ErrorCode {
    let mut peer = Peer::new();
    let seen = peer.send_all(pieces);
    let known = seen.iter().any(|seen| matches!(seen, Seen::Head(id, _) if *id == stream));
    let reset = seen.iter().any(|seen| matches!(seen, Seen::Reset(id, _) if *id == stream));
    assert_eq!(known, reset, "{seen:?}");
    let frames = peer.receive();
    let resets: Vec<_> = frames.iter().filter(|frame| frame.kind == kind::RST_STREAM).collect();
    assert_eq!(resets.len(), 1, "{frames:?}");
    assert_eq!(resets[0].stream, stream);
    assert!(matches!(peer.send(&get(stream + 2))[0], Seen::Head(..)), "the connection goes on");
    ErrorCode(resets[0].word(0))
}

#[test]
fn a_request_is_answered() {
    let mut peer = Peer::new();
    let line = "GET / HTTP/2.0|host: a".to_owned();
    assert_eq!(peer.send(&get(1)), [Seen::Head(1, line), Seen::End(1)]);
    assert!(peer.connection.waiting().response);
    assert!(peer.connection.respond(
        StreamId(1),
        ok(),
        StreamBody::Bytes(b"hello".as_slice().into())
    ));
    assert!(!peer.connection.respond(StreamId(1), ok(), StreamBody::Empty), "it has a response");
    let frames = peer.receive();
    assert_eq!(frames.len(), 2);
    assert_eq!((frames[0].kind, frames[0].flags), (kind::HEADERS, flag::END_HEADERS));
    assert_eq!(fields(&frames[0].payload), [(":status".to_owned(), "200".to_owned())]);
    assert_eq!(body(&frames, 1), (b"hello".to_vec(), true));
    assert!(peer.connection.is_idle());
}

#[test]
fn the_first_block_announces_that_no_table_is_used() {
    let mut peer = Peer::new();
    for stream in [1, 3] {
        peer.send(&get(stream));
        peer.connection.respond(StreamId(stream), ok(), StreamBody::Empty);
        let frames = peer.receive();
        let expected: &[u8] = if stream == 1 { b"\x20\x88" } else { b"\x88" };
        assert_eq!(frames[0].payload, expected);
        assert!(frames[0].ends());
    }
}

#[test]
fn the_preface_is_checked() {
    for bad in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nXX", b"\x16\x03\x01"] {
        let mut peer = Peer::silent(ConnectionLimits::default());
        assert_eq!(peer.send(bad), [Seen::Error(ErrorCode::PROTOCOL_ERROR)]);
        assert!(peer.connection.is_finished() || peer.goaway().is_some());
    }
    let mut peer = Peer::silent(ConnectionLimits::default());
    assert!(peer.connection.waiting().preface);
    let ping = frame(kind::PING, 0, 0, &[0; 8]);
    let ack = frame(kind::SETTINGS, flag::ACK, 0, b"");
    for first in [ping, get(1), ack] {
        let mut peer = Peer::silent(ConnectionLimits::default());
        let seen = peer.send_all(&[PREFACE.to_vec(), first]);
        assert_eq!(seen, [Seen::Error(ErrorCode::PROTOCOL_ERROR)]);
    }
    assert_eq!(peer.send_all(&[PREFACE.to_vec(), settings(&[])]), []);
    let waiting = peer.connection.waiting();
    assert!(!waiting.preface && waiting.settings_ack);
    peer.send(&frame(kind::SETTINGS, flag::ACK, 0, b""));
    peer.receive();
    assert!(peer.connection.is_idle());
}

#[test]
fn the_greeting_has_the_limits() {
    let mut peer = Peer::silent(ConnectionLimits::default());
    let frames = peer.receive();
    let parameters: Vec<_> = frames[0].payload.chunks(6).map(<[u8]>::to_vec).collect();
    assert!(parameters.contains(&vec![0, 3, 0, 0, 0, 100]), "streams");
    assert!(parameters.contains(&vec![0, 6, 0, 0, 64, 0]), "header list");
    assert!(parameters.contains(&vec![0, 9, 0, 0, 0, 1]), "RFC 7540 priorities");
    assert_eq!((frames[1].kind, frames[1].word(0)), (kind::WINDOW_UPDATE, 256 * 1024 - 65_535));
}

#[test]
fn idle_streams_take_nothing_but_headers_and_priorities() {
    assert_eq!(error_of(&[data(1, b"a", true)]), ErrorCode::PROTOCOL_ERROR);
    assert_eq!(error_of(&[reset(1, ErrorCode::CANCEL)]), ErrorCode::PROTOCOL_ERROR);
    assert_eq!(error_of(&[window(1, 5)]), ErrorCode::PROTOCOL_ERROR);
    assert_eq!(error_of(&[get(3), window(5, 5)]), ErrorCode::PROTOCOL_ERROR);
    assert_eq!(error_of(&[window(2, 5)]), ErrorCode::PROTOCOL_ERROR);
    let mut peer = Peer::new();
    assert_eq!(peer.send(&frame(kind::PRIORITY, 0, 7, &[0, 0, 0, 5, 1])), []);
    assert_eq!(peer.receive(), []);
}

#[test]
fn stream_identifiers_are_odd_and_grow() {
    assert_eq!(error_of(&[get(2)]), ErrorCode::PROTOCOL_ERROR);
    assert_eq!(error_of(&[get(5), get(3)]), ErrorCode::PROTOCOL_ERROR);
    assert_eq!(error_of(&[get(201), get(1)]), ErrorCode::STREAM_CLOSED, "too far back");
}

#[test]
fn frames_behind_the_end_of_a_stream() {
    // Half closed: an error of the stream.
    assert_eq!(reset_of(1, &[get(1), data(1, b"a", false)]), ErrorCode::STREAM_CLOSED);
    assert_eq!(reset_of(1, &[get(1), get(1)]), ErrorCode::STREAM_CLOSED);
    // Reset by the client, or answered: of the connection.
    let cancelled = reset(1, ErrorCode::CANCEL);
    for late in [data(1, b"a", false), get(1)] {
        let pieces = [get(1), cancelled.clone(), late.clone()];
        assert_eq!(error_of(&pieces), ErrorCode::STREAM_CLOSED);
        let mut peer = Peer::new();
        peer.send(&get(1));
        peer.connection.respond(StreamId(1), ok(), StreamBody::Empty);
        peer.receive();
        assert_eq!(peer.send(&late), [Seen::Error(ErrorCode::STREAM_CLOSED)]);
    }
    // These are allowed for a while (§5.1).
    let mut peer = Peer::new();
    peer.send_all(&[get(1), cancelled.clone()]);
    let late = [window(1, 5), window(1, 0), cancelled, frame(kind::PRIORITY, 0, 1, &[0; 5])];
    assert_eq!(peer.send_all(&late), []);
    assert_eq!(peer.receive(), []);
}

#[test]
fn frames_of_a_stream_that_the_server_reset_are_dropped() {
    let mut peer = Peer::new();
    peer.send(&post(1, &[]));
    peer.connection.reset(StreamId(1), ErrorCode::CANCEL);
    let trailers = frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, b"\x40\x01b\x01c");
    assert_eq!(peer.send_all(&[data(1, b"abc", false), trailers]), []);
    assert_eq!(peer.receive().len(), 1, "the reset");
    // The table has followed the dropped trailers: index 62 is b: c.
    let block = [GET, b"\xbe"].concat();
    let flags = flag::END_HEADERS | flag::END_STREAM;
    let seen = peer.send(&frame(kind::HEADERS, flags, 3, &block));
    assert_eq!(seen[0], Seen::Head(3, "GET / HTTP/2.0|host: a|b: c".to_owned()));
    assert_eq!(peer.send(&data(1, b"", true)), [Seen::Error(ErrorCode::STREAM_CLOSED)]);
}

#[test]
fn malformed_requests_reset_their_stream() {
    let malformed = frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, b"\x82\x86");
    let mut peer = Peer::new();
    assert_eq!(peer.send(&malformed), [Seen::Malformed(1)]);
    assert_eq!(reset_of(1, &[malformed]), ErrorCode::PROTOCOL_ERROR);
    let itself = [&[0, 0, 0, 1, 16][..], GET].concat();
    let flags = flag::END_HEADERS | flag::END_STREAM | flag::PRIORITY;
    let pieces = [frame(kind::HEADERS, flags, 1, &itself)];
    assert_eq!(reset_of(1, &pieces), ErrorCode::PROTOCOL_ERROR);
    let short = post(1, &[("content-length", "5")]);
    let flags = flag::END_HEADERS | flag::END_STREAM;
    let pieces = [frame(kind::HEADERS, flags, 1, &short[9..])];
    assert_eq!(reset_of(1, &pieces), ErrorCode::PROTOCOL_ERROR);
}

#[test]
fn bodies_agree_with_their_content_length() {
    let with = |length: &str| post(1, &[("content-length", length)]);
    let mut peer = Peer::new();
    let seen = peer.send_all(&[with("5"), data(1, b"abc", false), data(1, b"de", true)]);
    assert_eq!(seen.last(), Some(&Seen::End(1)));
    for pieces in [
        [with("5"), data(1, b"abc", true)],
        [with("2"), data(1, b"abc", false)],
        [with("0"), data(1, b"a", true)],
        [with("1"), data(1, b"", true)],
    ] {
        assert_eq!(reset_of(1, &pieces), ErrorCode::PROTOCOL_ERROR);
    }
}

#[test]
fn trailers_end_a_request() {
    let flags = flag::END_HEADERS | flag::END_STREAM;
    let trailers = |flags, block: &[u8]| frame(kind::HEADERS, flags, 1, block);
    let mut peer = Peer::new();
    let pieces = [post(1, &[]), data(1, b"a", false), trailers(flags, b"\x00\x01x\x01y")];
    let seen = peer.send_all(&pieces);
    assert_eq!(seen[1..], [Seen::Body(1, b"a".to_vec()), Seen::End(1)]);
    for bad in [trailers(flag::END_HEADERS, b"\x00\x01x\x01y"), trailers(flags, b"\x82")] {
        assert_eq!(reset_of(1, &[post(1, &[]), bad]), ErrorCode::PROTOCOL_ERROR);
    }
    let mut peer = Peer::new();
    let pieces = [post(1, &[("content-length", "1")]), trailers(flags, b"\x00\x01x\x01y")];
    assert_eq!(peer.send_all(&pieces)[1], Seen::Reset(1, ErrorCode::PROTOCOL_ERROR));
}

#[test]
fn priority_frames_are_checked_and_ignored() {
    let bad = frame(kind::PRIORITY, 0, 1, &[0; 4]);
    assert_eq!(reset_of(1, &[get(1), bad.clone()]), ErrorCode::FRAME_SIZE_ERROR);
    assert_eq!(error_of(&[bad]), ErrorCode::FRAME_SIZE_ERROR);
    let itself = frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 1, 9]);
    assert_eq!(reset_of(1, &[get(1), itself.clone()]), ErrorCode::PROTOCOL_ERROR);
    assert_eq!(error_of(&[itself]), ErrorCode::PROTOCOL_ERROR);
    for stream in [0, 2] {
        let update = frame(kind::PRIORITY_UPDATE, 0, 0, &[0, 0, 0, stream]);
        assert_eq!(error_of(&[update]), ErrorCode::PROTOCOL_ERROR);
    }
}

#[test]
fn settings_and_pings_are_acknowledged() {
    let mut peer = Peer::new();
    let ping = frame(kind::PING, 0, 0, b"12345678");
    assert_eq!(peer.send_all(&[settings(&[(4, 7)]), ping]), []);
    let frames = peer.receive();
    assert_eq!((frames[0].kind, frames[0].flags, frames[0].payload.len()), (kind::SETTINGS, 1, 0));
    assert_eq!((frames[1].kind, frames[1].flags), (kind::PING, 1));
    assert_eq!(frames[1].payload, b"12345678");
    let pong = frame(kind::PING, flag::ACK, 0, b"12345678");
    assert_eq!((peer.send(&pong), peer.receive()), (vec![], vec![]));
    assert_eq!(error_of(&[settings(&[(2, 2)])]), ErrorCode::PROTOCOL_ERROR);
    assert_eq!(error_of(&[settings(&[(4, 1 << 31)])]), ErrorCode::FLOW_CONTROL_ERROR);
}

#[test]
fn unknown_frames_are_ignored_but_not_inside_of_a_block() {
    let unknown = frame(0x42, 0xff, 1, b"whatever");
    let mut peer = Peer::new();
    assert_eq!(peer.send_all(&[unknown.clone(), get(1)]).len(), 2);
    assert_eq!(error_of(&[frame(kind::HEADERS, 0, 1, GET), unknown]), ErrorCode::PROTOCOL_ERROR);
}

#[test]
fn a_block_in_many_frames_is_one() {
    let mut peer = Peer::new();
    let mut pieces = vec![frame(kind::HEADERS, flag::END_STREAM, 1, &GET[..1])];
    pieces.extend(GET[1..].iter().map(|octet| frame(kind::CONTINUATION, 0, 1, &[*octet])));
    assert_eq!(peer.send_all(&pieces), []);
    assert!(peer.connection.waiting().frame);
    let seen = peer.send(&frame(kind::CONTINUATION, flag::END_HEADERS, 1, b""));
    assert_eq!(seen.len(), 2);
}

#[test]
fn errors_of_compression_end_the_connection() {
    for bad in [&b"\x80"[..], b"\xbe", b"\x00", b"\x3f\xe2\x1f", b"\x82\x20"] {
        let pieces = [frame(kind::HEADERS, flag::END_HEADERS, 1, bad)];
        assert_eq!(error_of(&pieces), ErrorCode::COMPRESSION_ERROR, "{bad:?}");
    }
}
