//! Bodies of files: windows, and units that come back.

use crate::peer::*;
use crate::sink::{File, content};
use karez_http::h2::{
    ConnectionLimits, ErrorCode, StreamBody, StreamId, StreamPart, UnitEvent, kind,
};
use std::collections::VecDeque;

fn download(peer: &mut Peer, stream: u32, file: u8, length: u64) {
    assert_eq!(peer.send(&get(stream)).len(), 2);
    assert!(peer.connection.respond(
        StreamId(stream),
        ok(),
        StreamBody::File(File(file), 0..length)
    ));
}

#[test]
fn a_file_is_sent_in_frames_and_then_closed() {
    let mut peer = Peer::new();
    download(&mut peer, 1, 5, 40_000);
    let frames = peer.receive();
    let sizes: Vec<_> = frames.iter().map(|frame| frame.payload.len()).collect();
    assert_eq!(sizes[1..], [16_384, 16_384, 7_232, 0]);
    assert_eq!(body(&frames, 1), (content(5, 0..40_000), true));
    assert_eq!(peer.queue.closed, [5]);
    assert!(peer.connection.is_idle());
}

#[test]
fn larger_frames_are_sent_where_the_client_allows_them() {
    let mut peer = Peer::with(ConnectionLimits::default(), &[(5, 1 << 20), (4, 1 << 20)]);
    peer.send(&window(0, 1 << 20));
    download(&mut peer, 1, 1, 100_000);
    let sizes: Vec<_> = peer.receive().iter().map(|frame| frame.payload.len()).collect();
    assert_eq!(sizes[1..], [65_536, 34_464, 0]);
}

#[test]
fn empty_files_end_with_their_head() {
    let mut peer = Peer::new();
    download(&mut peer, 1, 9, 0);
    let frames = peer.receive();
    assert!(frames.len() == 1 && frames[0].ends());
    assert_eq!(peer.queue.closed, [9]);
}

#[test]
fn windows_of_stream_and_connection_are_kept() {
    let mut peer = Peer::with(ConnectionLimits::default(), &[(4, 1000)]);
    download(&mut peer, 1, 1, 70_000);
    assert_eq!(body(&peer.receive(), 1).0.len(), 1000);
    let waiting = peer.connection.waiting();
    assert!(waiting.window && !waiting.response);
    assert!(peer.connection.streams_without_window().eq([StreamId(1)]));
    peer.send(&window(1, 500));
    assert_eq!(body(&peer.receive(), 1).0.len(), 500);
    // A smaller initial window makes it negative (§6.9.2).
    peer.send(&settings(&[(4, 100)]));
    peer.receive();
    peer.send(&window(1, 900));
    assert_eq!(peer.receive(), []);
    peer.send(&window(1, 1));
    assert_eq!(body(&peer.receive(), 1).0.len(), 1);
    // Now the connection's is the smaller one.
    peer.send(&window(1, 100_000));
    assert_eq!(body(&peer.receive(), 1).0.len(), 65_535 - 1501);
    peer.send(&window(0, 100_000));
    let frames = peer.receive();
    assert_eq!(body(&frames, 1).0.len(), 70_000 - 65_535);
    assert!(frames.last().unwrap().ends());
}

#[test]
fn small_windows_wait_for_larger_ones_that_are_in_flight() {
    let mut peer = Peer::with(ConnectionLimits::default(), &[(4, 1000)]);
    download(&mut peer, 1, 1, 2_000);
    assert_eq!(body(&peer.receive(), 1).0.len(), 1000);
    peer.send(&window(1, 100));
    assert_eq!(peer.receive(), []);
    assert!(peer.connection.avoids_small_window() && peer.connection.waiting().window);
    assert!(peer.connection.streams_without_window().eq([StreamId(1)]));
    peer.send(&window(1, 200));
    assert_eq!(body(&peer.receive(), 1).0.len(), 300);
    // What is left may be smaller.
    peer.send(&window(1, 580));
    assert_eq!(body(&peer.receive(), 1).0.len(), 580);
    peer.send(&window(1, 119));
    assert_eq!(peer.receive(), []);
    peer.send(&window(1, 1));
    assert_eq!(body(&peer.receive(), 1), (content(1, 1880..2000), true));
}

/// The client waits until the whole window is used, and does not learn that the server waits, too.
#[test]
fn small_windows_are_used_after_a_while() {
    let mut peer = Peer::with(ConnectionLimits::default(), &[(4, 1000)]);
    download(&mut peer, 1, 1, 50_000);
    peer.receive();
    peer.send(&window(1, 100));
    assert_eq!(peer.receive(), []);
    peer.connection.use_small_windows();
    assert_eq!(body(&peer.receive(), 1).0.len(), 100);
    assert!(!peer.connection.avoids_small_window());
    // This client opens its windows by little: the next small one is not used.
    peer.send(&window(1, 100));
    assert_eq!(peer.receive(), []);
    peer.connection.use_small_windows();
    assert_eq!(body(&peer.receive(), 1).0.len(), 100);
    // It opens them when they are used up: small ones are used from now on.
    peer.send(&window(1, 1000));
    assert_eq!(body(&peer.receive(), 1).0.len(), 1000);
    for _ in 0..2 {
        peer.send(&window(1, 100));
        assert_eq!(body(&peer.receive(), 1).0.len(), 100);
    }
}

/// The parts of a body have any size, and the client opens its windows by the octets of each frame.
#[test]
fn small_parts_are_no_flood() {
    let size = |part: usize| 1 + part * 37 % 700;
    let mut peer = Peer::new();
    peer.send(&get(1));
    peer.connection.respond(StreamId(1), ok(), StreamBody::Stream);
    for part in 0..4000 {
        let bytes = vec![7; size(part)];
        peer.connection.append(StreamId(1), StreamPart::Bytes(bytes.into()), part == 3999);
    }
    let (mut in_flight, mut frames, mut received) = (VecDeque::new(), 0, 0);
    loop {
        let sent = peer.receive().into_iter().filter(|frame| frame.kind == kind::DATA);
        in_flight.extend(sent.map(|frame| frame.payload.len()));
        let Some(length) = in_flight.pop_front() else { break };
        (frames, received) = (frames + 1, received + length);
        if length > 0 {
            let increment = u32::try_from(length).unwrap();
            peer.send_all(&[window(0, increment), window(1, increment)]);
        }
    }
    assert_eq!((peer.error, received), (None, (0..4000).map(size).sum()));
    assert!(frames < 8000, "{frames}");
}

#[test]
fn window_overflows_are_errors() {
    let mut peer = Peer::new();
    peer.send(&get(1));
    let seen = peer.send(&window(1, 0x7fff_ffff));
    assert_eq!(seen, [Seen::Reset(1, ErrorCode::FLOW_CONTROL_ERROR)]);
    assert_eq!(peer.send(&window(0, 0x7fff_0000)), []);
    let seen = peer.send(&window(0, 1));
    assert_eq!(seen, [Seen::Error(ErrorCode::FLOW_CONTROL_ERROR)]);

    let mut peer = Peer::new();
    peer.send_all(&[get(1), window(1, 0x7000_0000)]);
    let seen = peer.send(&settings(&[(4, 0x7fff_ffff)]));
    assert_eq!(seen, [Seen::Error(ErrorCode::FLOW_CONTROL_ERROR)]);

    let mut peer = Peer::new();
    peer.send(&get(1));
    assert_eq!(peer.send(&window(1, 0)), [Seen::Reset(1, ErrorCode::PROTOCOL_ERROR)]);
    assert_eq!(peer.send(&window(0, 0)), [Seen::Error(ErrorCode::PROTOCOL_ERROR)]);
}

#[test]
fn a_cold_stream_does_not_hold_up_others() {
    let mut peer = Peer::new();
    download(&mut peer, 1, 1, 30_000);
    download(&mut peer, 3, 2, 30_000);
    peer.connection.fill(&mut peer.queue);
    peer.queue.find_cold(StreamId(1));
    peer.report();
    let frames = peer.receive();
    assert_eq!(body(&frames, 1), (vec![], false));
    assert_eq!(body(&frames, 3), (content(2, 0..30_000), true));
    assert!(peer.connection.waiting().response);
    // The windows have been refunded, so nothing is missing at the end.
    peer.queue.events.push_back((StreamId(1), UnitEvent::Warm));
    peer.report();
    assert_eq!(body(&peer.receive(), 1), (content(1, 0..30_000), true));
    assert_eq!(peer.queue.closed, [2, 1]);
}

#[test]
fn a_file_that_shrinks_resets_its_stream_only() {
    let mut peer = Peer::new();
    download(&mut peer, 1, 1, 60_000);
    download(&mut peer, 3, 2, 1_000);
    peer.connection.fill(&mut peer.queue);
    peer.queue.find_short(StreamId(1));
    assert_eq!(peer.report(), [1]);
    let frames = peer.receive();
    let (received, ended) = body(&frames, 1);
    assert_eq!((received, ended), (vec![0; 16_384], false), "one frame of zeros, and no end");
    let resets: Vec<_> = frames.iter().filter(|frame| frame.kind == kind::RST_STREAM).collect();
    assert_eq!((resets.len(), resets[0].stream), (1, 1));
    assert_eq!(resets[0].word(0), ErrorCode::INTERNAL_ERROR.0);
    assert_eq!(body(&frames, 3).0.len(), 1000);
    // 65,535 − 16,384 − 1,000 are left of the connection's window.
    download(&mut peer, 5, 3, 60_000);
    assert_eq!(body(&peer.receive(), 5).0.len(), 48_151);
}

#[test]
fn a_reset_takes_back_units_and_refunds_the_window() {
    let mut peer = Peer::new();
    download(&mut peer, 1, 1, 60_000);
    peer.connection.fill(&mut peer.queue);
    let head = 9 + 2;
    peer.queue.send(head + 9 + 100);
    let cancelled = peer.send(&reset(1, ErrorCode::CANCEL));
    assert_eq!(cancelled, [Seen::Reset(1, ErrorCode::CANCEL)]);
    let frames = peer.receive();
    assert_eq!(body(&frames, 1).0, content(1, 0..16_384), "the frame that had begun");
    assert_eq!(peer.queue.closed, [1], "once that was sent");
    download(&mut peer, 3, 2, 60_000);
    assert_eq!(body(&peer.receive(), 3).0.len(), 65_535 - 16_384);
}

#[test]
fn a_report_of_units_that_were_given_back_does_not_count() {
    let mut peer = Peer::new();
    peer.send_all(&[get(1), get(3)]);
    peer.connection.respond(StreamId(1), ok(), StreamBody::Bytes(vec![1; 3000].into()));
    peer.connection.fill(&mut peer.queue);
    peer.connection.respond(StreamId(3), ok(), StreamBody::File(File(1), 0..2000));
    peer.connection.fill(&mut peer.queue);
    peer.queue.find_cold(StreamId(3));
    peer.queue.events.push_back((StreamId(3), UnitEvent::Warm));
    peer.report();
    // Now only a part may be sent, which is appended behind the call of `notify_sent`.
    peer.send(&settings(&[(4, 500)]));
    peer.connection.fill(&mut peer.queue);
    assert_eq!(peer.queue.units(), [StreamId(3)]);
    let heads = 9 + 2 + 9 + 1;
    peer.queue.send(heads + 9 + 3000 + 9 + 20);
    assert!(peer.queue.units().is_empty(), "the unit has begun");
    assert_eq!(peer.report(), [1]);
    assert_eq!(peer.send(&reset(3, ErrorCode::CANCEL)).len(), 1);
    peer.connection.fill(&mut peer.queue);
    assert_eq!(peer.queue.closed, [], "the unit needs its file");
    assert_eq!(body(&peer.receive(), 3).0, content(1, 0..500));
    assert_eq!(peer.queue.closed, [1]);
}

#[test]
fn memory_follows_files_only_when_these_are_sent() {
    let mut peer = Peer::new();
    peer.send(&get(1));
    peer.connection.respond(StreamId(1), ok(), StreamBody::Stream);
    let parts = [
        StreamPart::Bytes(b"head 1;".as_slice().into()),
        StreamPart::File(File(1), 100..200),
        StreamPart::Bytes(b"head 2;".as_slice().into()),
        StreamPart::File(File(2), 7..20_000),
        StreamPart::File(File(3), 0..0),
        StreamPart::Bytes(b"end".as_slice().into()),
    ];
    let last = parts.len() - 1;
    for (n, part) in parts.into_iter().enumerate() {
        assert!(peer.connection.append(StreamId(1), part, n == last));
    }
    assert_eq!(peer.connection.buffered(StreamId(1)), 17);
    assert!(
        !peer.connection.append(StreamId(1), StreamPart::File(File(4), 0..1), true),
        "it is complete"
    );
    // The first file is found cold after everything that may be appended was appended.
    peer.connection.fill(&mut peer.queue);
    assert_eq!(peer.queue.units(), [StreamId(1)], "no byte behind the file");
    peer.queue.find_cold(StreamId(1));
    peer.report();
    assert_eq!(body(&peer.receive(), 1), (b"head 1;".to_vec(), false));
    peer.queue.events.push_back((StreamId(1), UnitEvent::Warm));
    peer.report();
    let expected = [&content(1, 100..200)[..], b"head 2;", &content(2, 7..20_000), b"end"].concat();
    assert_eq!(body(&peer.receive(), 1), (expected, true));
    let mut closed = peer.queue.closed.clone();
    closed.sort_unstable();
    assert_eq!(closed, [1, 2, 3, 4]);
}

#[test]
fn streamed_parts_are_sent_as_they_come() {
    let mut peer = Peer::new();
    peer.send(&get(1));
    peer.connection.respond(StreamId(1), ok(), StreamBody::Stream);
    assert_eq!(peer.receive().len(), 1);
    for n in 0..3_u8 {
        assert!(peer.connection.append(StreamId(1), StreamPart::Bytes(vec![n; 10].into()), false));
        assert_eq!(body(&peer.receive(), 1), (vec![n; 10], false));
    }
    assert!(peer.connection.append(StreamId(1), StreamPart::File(File(1), 0..10), false));
    assert_eq!(body(&peer.receive(), 1), (content(1, 0..10), false));
    assert_eq!(peer.queue.closed, [1]);
    assert!(peer.connection.append(StreamId(1), StreamPart::Bytes(vec![].into()), true));
    assert_eq!(body(&peer.receive(), 1), (vec![], true));
    assert!(!peer.connection.append(StreamId(1), StreamPart::Bytes(vec![1].into()), true));
}

#[test]
fn a_full_sink_takes_nothing_more() {
    let mut peer = Peer::with(ConnectionLimits::default(), &[(4, 1 << 20)]);
    peer.send(&window(0, 1 << 20));
    download(&mut peer, 1, 1, 500_000);
    peer.connection.fill(&mut peer.queue);
    let before = peer.queue.units().len();
    assert!((3..=5).contains(&before), "{before}");
    peer.connection.fill(&mut peer.queue);
    assert_eq!(peer.queue.units().len(), before);
    assert_eq!(body(&peer.receive(), 1), (content(1, 0..500_000), true));
}
