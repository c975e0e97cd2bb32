//! Floods, bombs and games: each ends with the right error, and before it costs much.

use crate::peer::*;
use crate::sink::File;
use karez_http::h2::{ConnectionLimits, ErrorCode, StreamBody, StreamId, flag, kind};
use std::time::Duration;

const CALM: ErrorCode = ErrorCode::ENHANCE_YOUR_CALM;

/// Sends the same bytes until the connection ends. Returns how often that took.
fn flood(peer: &mut Peer, bytes: &[u8]) -> usize {
    for count in 1..100_000 {
        if let Some(Seen::Error(code)) = peer.send(bytes).last() {
            assert_eq!(*code, CALM);
            assert_eq!(peer.goaway(), Some(CALM));
            return count;
        }
        peer.receive();
    }
    panic!("it never ends");
}

#[test]
fn floods_of_control_frames() {
    for bytes in [
        frame(kind::PING, 0, 0, &[0; 8]),
        frame(kind::PING, flag::ACK, 0, &[0; 8]),
        settings(&[]),
        settings(&[(4, 9)]),
        frame(kind::SETTINGS, flag::ACK, 0, b""),
        frame(kind::PRIORITY, 0, 1, &[0; 5]),
        frame(kind::PRIORITY_UPDATE, 0, 0, b"\0\0\0\x01u=1"),
        data(1, b"", false),
        frame(kind::DATA, flag::PADDED, 1, b"\x01\0"),
        window(1, 1),
        window(0, 1),
        frame(0x77, 0, 0, b""),
    ] {
        let mut peer = Peer::new();
        peer.send(&post(1, &[]));
        let count = flood(&mut peer, &bytes);
        assert!((890..=901).contains(&count), "{bytes:?}: {count}");
    }
}

#[test]
fn floods_of_field_blocks_that_are_dropped() {
    // Requests behind GOAWAY.
    let mut peer = Peer::new();
    peer.connection.shut_down();
    peer.connection.shut_down();
    let mut stream = 1;
    while peer.error.is_none() {
        peer.send(&get(stream));
        stream += 2;
    }
    assert_eq!(peer.error.unwrap().code, CALM);
    assert!((890..=901).contains(&(stream / 2)), "{stream}");
    // Trailers without an end, of a stream that the server has reset.
    let mut peer = Peer::new();
    peer.send(&post(1, &[]));
    peer.connection.reset(StreamId(1), ErrorCode::CANCEL);
    let count = flood(&mut peer, &frame(kind::HEADERS, flag::END_HEADERS, 1, b"\x00\x01a\x01b"));
    assert!((890..=901).contains(&count), "{count}");
}

#[test]
fn a_steady_rate_of_pings_is_allowed() {
    let mut peer = Peer::new();
    for _ in 0..5_000 {
        peer.send(&frame(kind::PING, 0, 0, &[0; 8]));
        peer.receive();
        peer.pass(Duration::from_millis(11));
    }
    assert_eq!(peer.error, None);
}

#[test]
fn small_window_updates_of_a_client_that_gets_responses_are_allowed() {
    let mut peer = Peer::new();
    for stream in (1..10_000).step_by(2) {
        peer.send(&get(stream));
        peer.connection.respond(StreamId(stream), ok(), StreamBody::Bytes(vec![1; 5].into()));
        peer.receive();
        peer.send_all(&[window(0, 5), window(stream, 5)]);
    }
    assert_eq!(peer.error, None);
}

#[test]
fn rapid_reset() {
    let mut peer = Peer::new();
    let mut stream = 1;
    let error = loop {
        let seen = peer.send_all(&[get(stream), reset(stream, ErrorCode::CANCEL)]);
        if let Some(Seen::Error(code)) = seen.last() {
            break *code;
        }
        assert_eq!(seen.last(), Some(&Seen::Reset(stream, ErrorCode::CANCEL)));
        stream += 2;
    };
    assert_eq!((error, stream), (CALM, 801));
    assert_eq!(peer.goaway(), Some(CALM));
}

#[test]
fn resets_of_responses_that_are_complete_do_not_count() {
    let mut peer = Peer::new();
    for stream in (1..4_000).step_by(2) {
        peer.send(&get(stream));
        peer.connection.respond(StreamId(stream), ok(), StreamBody::File(File(0), 0..10));
        peer.connection.fill(&mut peer.queue);
        let seen = peer.send(&reset(stream, ErrorCode::CANCEL));
        assert_eq!(seen, [Seen::Reset(stream, ErrorCode::CANCEL)]);
        peer.receive();
        peer.queue.closed.clear();
        peer.send(&window(0, 300));
    }
    assert_eq!(peer.error, None);
}

#[test]
fn cancelled_downloads_at_a_human_rate_are_allowed() {
    let mut peer = Peer::new();
    for stream in (1..6_000).step_by(2) {
        peer.send_all(&[get(stream), reset(stream, ErrorCode::CANCEL)]);
        peer.pass(Duration::from_millis(50));
    }
    assert_eq!(peer.error, None);
}

#[test]
fn resets_that_the_client_provokes_count_like_its_own() {
    let provocations: [fn(u32) -> Vec<u8>; 6] = [
        |stream| window(stream, 0),
        |stream| window(stream, 0x7fff_ffff),
        |stream| frame(kind::PRIORITY, 0, stream, &[0; 4]),
        |stream| data(stream, b"a", false),
        get,
        |stream| frame(kind::PRIORITY, 0, stream, &[&stream.to_be_bytes()[..], &[1]].concat()),
    ];
    for provoke in provocations {
        let mut peer = Peer::new();
        let mut stream = 1;
        let error = loop {
            let seen = peer.send_all(&[get(stream), provoke(stream)]);
            peer.receive();
            if let Some(Seen::Error(code)) = seen.last() {
                break *code;
            }
            stream += 2;
        };
        assert_eq!((error, stream), (CALM, 801));
    }
}

#[test]
fn malformed_requests_count_as_resets() {
    let mut peer = Peer::new();
    let mut stream = 1;
    while peer.error.is_none() {
        let flags = flag::END_HEADERS | flag::END_STREAM;
        peer.send(&frame(kind::HEADERS, flags, stream, b"\x82"));
        peer.receive();
        stream += 2;
    }
    assert_eq!((peer.error.unwrap().code, stream), (CALM, 803));
}

#[test]
fn streams_above_the_limit_are_refused() {
    let mut peer = Peer::new();
    for stream in (1..200).step_by(2) {
        assert_eq!(peer.send(&get(stream)).len(), 2);
    }
    // The table follows refused blocks, too.
    let block = [GET, b"\x40\x01b\x01c"].concat();
    assert_eq!(peer.send(&frame(kind::HEADERS, flag::END_HEADERS, 201, &block)), []);
    let frames = peer.receive();
    assert_eq!((frames[0].kind, frames[0].stream), (kind::RST_STREAM, 201));
    assert_eq!(frames[0].word(0), ErrorCode::REFUSED_STREAM.0);
    assert_eq!(peer.send(&data(201, b"late", true)), []);
    peer.connection.respond(StreamId(1), ok(), StreamBody::Empty);
    peer.receive();
    let flags = flag::END_HEADERS | flag::END_STREAM;
    let seen = peer.send(&frame(kind::HEADERS, flags, 203, &[GET, b"\xbe"].concat()));
    assert_eq!(seen[0], Seen::Head(203, "GET / HTTP/2.0|host: a|b: c".to_owned()));
    let mut stream = 205;
    while peer.error.is_none() {
        peer.send(&get(stream));
        peer.receive();
        stream += 2;
    }
    assert_eq!((peer.error.unwrap().code, stream), (CALM, 205 + 2 * 400));
}

#[test]
fn floods_of_continuation() {
    let mut peer = Peer::new();
    peer.send(&frame(kind::HEADERS, 0, 1, GET));
    let count = flood(&mut peer, &frame(kind::CONTINUATION, 0, 1, b""));
    assert_eq!(count, 17);
    let mut peer = Peer::new();
    peer.send(&frame(kind::HEADERS, 0, 1, GET));
    let count = flood(&mut peer, &frame(kind::CONTINUATION, 0, 1, &[0x82; 16_000]));
    assert_eq!(count, 3);
}

#[test]
fn large_header_lists_are_answered_with_431() {
    let mut peer = Peer::new();
    let value = "v".repeat(9_000);
    let large = post(1, &[("a", &value), ("b", &value)]);
    // 12 KiB of Huffman code, so that it fits into one frame.
    assert_eq!(peer.send(&large), [Seen::Rejected(1, 431)]);
    peer.connection.respond(StreamId(1), ok(), StreamBody::Bytes(b"too large".as_slice().into()));
    let frames = peer.receive();
    assert_eq!(body(&frames, 1).0, b"too large");
    assert_eq!(peer.send(&get(3)).len(), 2);
}

#[test]
fn hpack_bombs_end_the_connection() {
    let mut peer = Peer::new();
    // A field of 4,000 octets in the table, and references to it.
    let mut block = [GET, &[0x40, 1, b'a', 0x7f, 0xa1, 0x1e], &[b'x'; 4000]].concat();
    block.resize(block.len() + 3_000, 0xbe);
    let bomb = frame(kind::HEADERS, flag::END_HEADERS, 1, &block);
    assert_eq!(peer.send(&bomb), [Seen::Error(CALM)]);
    assert_eq!(peer.goaway(), Some(CALM));
}

#[test]
fn too_many_settings() {
    let mut peer = Peer::new();
    assert_eq!(peer.send(&settings(&[(4, 9); 32])), []);
    assert_eq!(peer.send(&settings(&[(4, 9); 33])), [Seen::Error(CALM)]);
}

#[test]
fn answers_that_are_not_read_are_bounded() {
    let mut limits = ConnectionLimits::default();
    limits.control_queue = 1000;
    let mut peer = Peer::with(limits, &[]);
    peer.queue.room = 0;
    let ping = frame(kind::PING, 0, 0, &[0; 8]);
    let mut count = 0;
    while peer.error.is_none() {
        peer.send(&ping);
        peer.connection.fill(&mut peer.queue);
        count += 1;
    }
    assert_eq!((peer.error.unwrap().code, count), (CALM, 59));
}

#[test]
fn tiny_windows_are_served_but_not_for_long() {
    let mut peer = Peer::with(ConnectionLimits::default(), &[(4, 1)]);
    peer.send(&get(1));
    peer.connection.respond(StreamId(1), ok(), StreamBody::File(File(1), 0..100_000));
    assert_eq!(body(&peer.receive(), 1).0.len(), 1);
    let mut count = 0;
    while peer.error.is_none() {
        peer.send(&window(1, 1));
        peer.receive();
        count += 1;
    }
    assert_eq!(peer.error.unwrap().code, CALM);
    // Each costs a token to receive and one to send.
    assert!((440..=460).contains(&count), "{count}");

    // Where the rest of the window is in flight they are not used, and each costs the token to receive it.
    let mut peer = Peer::new();
    peer.send(&get(1));
    peer.connection.respond(StreamId(1), ok(), StreamBody::File(File(1), 0..900_000));
    let (mut sent, mut count) = (body(&peer.receive(), 1).0.len(), 0);
    while peer.error.is_none() {
        peer.send_all(&[window(0, 1), window(1, 1)]);
        sent += body(&peer.receive(), 1).0.len();
        count += 1;
    }
    assert_eq!(peer.error.unwrap().code, CALM);
    assert!((440..=460).contains(&count) && sent == 65_535 + 256, "{count}, {sent}");

    // Larger steps are not counted.
    let mut peer = Peer::with(ConnectionLimits::default(), &[(4, 300)]);
    peer.send(&window(0, 1_000_000));
    peer.send(&get(1));
    peer.connection.respond(StreamId(1), ok(), StreamBody::File(File(1), 0..900_000));
    for _ in 0..3000 {
        assert!(!peer.receive().is_empty());
        peer.send(&window(1, 300));
    }
    assert_eq!(peer.error, None);
}

#[test]
fn windows_that_never_open_can_be_timed() {
    let mut peer = Peer::with(ConnectionLimits::default(), &[(4, 0)]);
    assert!(peer.connection.is_idle());
    peer.send(&get(1));
    peer.connection.respond(StreamId(1), ok(), StreamBody::File(File(1), 0..10));
    assert!(peer.connection.waiting().response);
    peer.receive();
    let waiting = peer.connection.waiting();
    assert!(waiting.window && !waiting.response && !waiting.body);
    peer.connection.reset(StreamId(1), ErrorCode::CANCEL);
    peer.receive();
    assert!(peer.connection.is_idle());
}
