//! Which stream is served next (RFC 9218).

use crate::peer::*;
use crate::sink::File;
use karez_http::h2::{ConnectionLimits, StreamBody, StreamId, flag, hpack, kind};

fn wide() -> Peer {
    let mut peer = Peer::with(ConnectionLimits::default(), &[(4, 0x7fff_ffff)]);
    peer.send(&window(0, 0x7000_0000));
    peer
}

fn request(peer: &mut Peer, stream: u32, priority: Option<&str>) {
    let mut block = GET.to_vec();
    if let Some(priority) = priority {
        hpack::BlockEncoder::new(&mut block).field("priority", priority.as_bytes());
    }
    let flags = flag::END_HEADERS | flag::END_STREAM;
    assert_eq!(peer.send(&frame(kind::HEADERS, flags, stream, &block)).len(), 2);
}

fn update(peer: &mut Peer, stream: u32, priority: &str) {
    let payload = [&stream.to_be_bytes()[..], priority.as_bytes()].concat();
    assert_eq!(peer.send(&frame(kind::PRIORITY_UPDATE, 0, 0, &payload)), []);
}

fn respond(peer: &mut Peer, streams: &[u32]) {
    for stream in streams {
        let file = File(u8::try_from(*stream).unwrap());
        peer.connection.respond(StreamId(*stream), ok(), StreamBody::File(file, 0..200_000));
    }
}

/// The streams in the order in which their bodies are sent, each once for every run of frames.
fn order(peer: &mut Peer) -> Vec<u32> {
    let frames = peer.receive();
    let heads = frames.iter().take_while(|frame| frame.kind == kind::HEADERS).count();
    let data: Vec<_> = frames[heads..].iter().map(|frame| frame.stream).collect();
    assert!(frames[heads..].iter().all(|frame| frame.kind == kind::DATA), "heads come first");
    data.chunk_by(|a, b| a == b).map(|run| run[0]).collect()
}

#[test]
fn urgent_streams_come_first() {
    let mut peer = wide();
    for (stream, priority) in [(1, "u=5"), (3, "u=1"), (5, ""), (7, "u=0, i")] {
        request(&mut peer, stream, Some(priority));
    }
    respond(&mut peer, &[1, 3, 5, 7]);
    assert_eq!(order(&mut peer), [7, 3, 5, 1]);
}

#[test]
fn streams_of_one_urgency_come_one_behind_the_other() {
    let mut peer = wide();
    for stream in [1, 3, 5] {
        request(&mut peer, stream, Some("u=3"));
    }
    respond(&mut peer, &[5, 3, 1]);
    assert_eq!(order(&mut peer), [1, 3, 5]);
}

#[test]
fn incremental_streams_take_turns() {
    let mut peer = wide();
    for stream in [1, 3] {
        request(&mut peer, stream, Some("i"));
    }
    request(&mut peer, 5, Some("u=4,i"));
    respond(&mut peer, &[1, 3, 5]);
    let order = order(&mut peer);
    assert_eq!(order[..4], [1, 3, 1, 3], "{order:?}");
    assert_eq!(order.last(), Some(&5));
}

#[test]
fn a_stream_that_is_not_incremental_takes_turns_with_those_that_are() {
    let mut peer = wide();
    for (stream, priority) in [(1, "u=3"), (3, "u=3, i"), (5, "u=3")] {
        request(&mut peer, stream, Some(priority));
    }
    respond(&mut peer, &[1, 3, 5]);
    let order = order(&mut peer);
    assert_eq!(order[..4], [1, 3, 1, 3], "{order:?}");
    assert_eq!(order.last(), Some(&5));
}

#[test]
fn without_any_priority_streams_take_turns() {
    let mut peer = wide();
    for stream in [1, 3] {
        request(&mut peer, stream, None);
    }
    respond(&mut peer, &[1, 3]);
    assert_eq!(order(&mut peer)[..4], [1, 3, 1, 3]);
}

#[test]
fn updates_change_priorities_before_and_after_the_request() {
    let mut peer = wide();
    update(&mut peer, 5, "u=0");
    request(&mut peer, 1, Some("u=2"));
    request(&mut peer, 3, Some("u=4"));
    request(&mut peer, 5, Some("u=7"));
    update(&mut peer, 3, "u=1");
    respond(&mut peer, &[1, 3, 5]);
    assert_eq!(order(&mut peer), [5, 3, 1]);
}

#[test]
fn an_urgent_request_overtakes_a_download() {
    let mut peer = wide();
    request(&mut peer, 1, Some("u=3"));
    peer.connection.respond(StreamId(1), ok(), StreamBody::File(File(1), 0..10_000_000));
    peer.connection.fill(&mut peer.queue);
    peer.queue.send(usize::MAX);
    request(&mut peer, 3, Some("u=2"));
    respond(&mut peer, &[3]);
    peer.connection.fill(&mut peer.queue);
    peer.queue.send(usize::MAX);
    let frames = parse(&std::mem::take(&mut peer.queue.wire));
    let last: Vec<_> = frames.iter().rev().take(4).map(|frame| frame.stream).collect();
    assert_eq!(last, [3; 4]);
}
