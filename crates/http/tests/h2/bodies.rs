//! Request bodies and their windows (RFC 9113 §5.2, §6.9).

use crate::peer::*;
use karez_http::h2::{ConnectionLimits, ErrorCode, StreamBody, StreamId, flag, kind};

#[test]
fn released_octets_open_both_windows() {
    let mut peer = Peer::new();
    peer.send(&post(1, &[]));
    let part = vec![7; 16_384];
    for _ in 0..3 {
        assert_eq!(peer.send(&data(1, &part, false)), [Seen::Body(1, part.clone())]);
    }
    assert!(peer.connection.waiting().body);
    assert_eq!(peer.receive(), [], "nothing is released");
    peer.connection.release(StreamId(1), 32_000);
    assert_eq!(peer.receive(), [], "less than half of either window");
    peer.connection.release(StreamId(1), 1_000);
    let frames = peer.receive();
    assert_eq!(frames.len(), 1);
    assert_eq!(
        (frames[0].kind, frames[0].stream, frames[0].word(0)),
        (kind::WINDOW_UPDATE, 1, 33_000)
    );
    // More than was received is not released.
    peer.connection.release(StreamId(1), usize::MAX);
    peer.connection.release(StreamId(1), 100);
    for _ in 0..6 {
        peer.send(&data(1, &part, false));
        peer.connection.release(StreamId(1), part.len());
    }
    let frames = peer.receive();
    let of_connection: u32 =
        frames.iter().filter(|frame| frame.stream == 0).map(|frame| frame.word(0)).sum();
    assert!((128 * 1024..=9 * 16_384).contains(&of_connection), "{of_connection}");
}

#[test]
fn a_window_that_is_exceeded_is_an_error() {
    let part = vec![0; 16_384];
    let mut peer = Peer::new();
    peer.send(&post(1, &[]));
    for _ in 0..3 {
        peer.send(&data(1, &part, false));
    }
    peer.send(&data(1, &part[..16_383], false));
    let seen = peer.send(&data(1, b"x", false));
    assert_eq!(seen, [Seen::Reset(1, ErrorCode::FLOW_CONTROL_ERROR)]);

    // The window of the connection: four streams of 64 KiB fill it.
    let mut peer = Peer::new();
    for stream in [1, 3, 5, 7] {
        peer.send(&post(stream, &[]));
        for _ in 0..3 {
            peer.send(&data(stream, &part, false));
        }
        peer.send(&data(stream, &part[..16_383], false));
    }
    peer.send(&post(9, &[]));
    let seen = peer.send(&data(9, b"12345", false));
    assert_eq!(seen, [Seen::Error(ErrorCode::FLOW_CONTROL_ERROR)]);
    assert_eq!(peer.goaway(), Some(ErrorCode::FLOW_CONTROL_ERROR));
}

#[test]
fn padding_counts_and_is_released_at_once() {
    let mut peer = Peer::new();
    peer.send(&post(1, &[]));
    let padded = [&[200_u8][..], b"a", &[0; 200]].concat();
    for _ in 0..400 {
        let seen = peer.send(&frame(kind::DATA, flag::PADDED, 1, &padded));
        assert_eq!(seen, [Seen::Body(1, b"a".to_vec())]);
    }
    let frames = peer.receive();
    let of_stream: u32 =
        frames.iter().filter(|frame| frame.stream == 1).map(|frame| frame.word(0)).sum();
    // 201 of each 202 octets, in steps of half a window.
    assert!((32_767..=400 * 201).contains(&of_stream), "{of_stream}");
}

#[test]
fn octets_of_streams_that_are_gone_are_released() {
    let part = vec![0; 16_384];
    let mut peer = Peer::new();
    let mut updates = 0;
    for stream in (1..40).step_by(2) {
        peer.send(&post(stream, &[]));
        peer.send(&data(stream, &part, false));
        match stream % 3 {
            0 => drop(peer.send(&reset(stream, ErrorCode::CANCEL))),
            1 => {
                peer.connection.reset(StreamId(stream), ErrorCode::CANCEL);
                // In flight when the client is reset.
                assert_eq!(peer.send(&data(stream, &part, false)), []);
            }
            _ => drop(peer.connection.respond(StreamId(stream), ok(), StreamBody::Empty)),
        }
        let frames = peer.receive();
        updates += frames
            .iter()
            .filter(|frame| frame.kind == kind::WINDOW_UPDATE)
            .map(|frame| frame.word(0))
            .sum::<u32>();
    }
    assert!(updates >= 20 * 16_384, "the window of the connection leaks: {updates}");
    assert!(peer.error.is_none());
}

#[test]
fn a_response_before_the_end_of_the_request_stops_the_client() {
    let mut peer = Peer::new();
    peer.send(&post(1, &[]));
    peer.connection.respond(StreamId(1), ok(), StreamBody::Bytes(b"no".as_slice().into()));
    let frames = peer.receive();
    assert_eq!(body(&frames, 1), (b"no".to_vec(), true));
    let last = frames.last().unwrap();
    assert_eq!((last.kind, last.word(0)), (kind::RST_STREAM, ErrorCode::NO_ERROR.0));
    assert_eq!(peer.send_all(&[data(1, b"late", false), data(1, b"", true)]), []);
    assert!(peer.connection.is_idle());
}

#[test]
fn informational_responses_come_before_the_final_one() {
    let mut peer = Peer::new();
    let seen = peer.send(&post(1, &[("expect", "100-continue"), ("content-length", "2")]));
    assert!(matches!(&seen[0], Seen::Head(1, text) if text.contains("|expect: 100-continue")));
    peer.connection.inform(StreamId(1), b"\x08\x03100");
    let frames = peer.receive();
    assert_eq!((frames[0].kind, frames[0].flags), (kind::HEADERS, flag::END_HEADERS));
    assert_eq!(fields(&frames[0].payload), [(":status".to_owned(), "100".to_owned())]);
    assert_eq!(peer.send(&data(1, b"hi", true)).len(), 2);
    peer.connection.respond(StreamId(1), ok(), StreamBody::Empty);
    peer.connection.inform(StreamId(1), b"\x08\x03100");
    assert_eq!(peer.receive().len(), 1, "no informational response behind it");
}

#[test]
fn a_window_of_a_few_octets_works() {
    let mut limits = ConnectionLimits::default();
    limits.stream_window = 3;
    let mut peer = Peer::with(limits, &[]);
    peer.send(&post(1, &[]));
    for _ in 0..5 {
        assert_eq!(peer.send(&data(1, b"abc", false)), [Seen::Body(1, b"abc".to_vec())]);
        peer.connection.release(StreamId(1), 3);
        assert_eq!(peer.receive().len(), 1);
    }
    let seen = peer.send(&data(1, b"abcd", false));
    assert_eq!(seen, [Seen::Reset(1, ErrorCode::FLOW_CONTROL_ERROR)]);
}
