//! The end of a connection that loses no request (RFC 9113 §6.8).

use crate::peer::*;
use karez_http::h2::{ErrorCode, StreamBody, StreamId, flag, kind};

#[test]
fn goaway_comes_in_two_steps() {
    let mut peer = Peer::new();
    peer.send(&get(1));
    peer.connection.shut_down();
    let frames = peer.receive();
    assert_eq!(
        (frames[0].kind, frames[0].word(0), frames[0].word(4)),
        (kind::GOAWAY, 0x7fff_ffff, 0)
    );
    assert_eq!((frames[1].kind, frames[1].flags), (kind::PING, 0));
    // Sent before the client knew.
    assert_eq!(peer.send(&get(3)).len(), 2);
    peer.send(&frame(kind::PING, flag::ACK, 0, &frames[1].payload));
    let frames = peer.receive();
    assert_eq!((frames[0].kind, frames[0].word(0)), (kind::GOAWAY, 3));
    // Ignored, but its fields are followed.
    let block = [GET, b"\x40\x01b\x01c"].concat();
    assert_eq!(peer.send(&frame(kind::HEADERS, flag::END_HEADERS, 5, &block)), []);
    assert_eq!(peer.send(&data(5, b"abc", true)), []);
    for stream in [1, 3] {
        assert!(!peer.connection.is_finished());
        peer.connection.respond(StreamId(stream), ok(), StreamBody::Empty);
        assert_eq!(peer.receive().len(), 1);
    }
    assert!(peer.connection.is_finished());
}

#[test]
fn a_second_call_does_not_wait_for_the_client() {
    let mut peer = Peer::new();
    peer.connection.shut_down();
    assert!(!peer.connection.is_finished());
    peer.connection.shut_down();
    peer.connection.shut_down();
    let frames = peer.receive();
    let last: Vec<_> = frames.iter().filter(|frame| frame.kind == kind::GOAWAY).collect();
    assert_eq!(last.len(), 2);
    assert_eq!(last[1].word(0), 0);
    assert!(peer.connection.is_finished());
    // An error later on names no higher stream.
    assert_eq!(peer.send(&get(7)), []);
    assert_eq!(peer.send(&window(0, 0)), [Seen::Error(ErrorCode::PROTOCOL_ERROR)]);
    let frames = peer.receive();
    assert_eq!((frames[0].word(0), frames[0].word(4)), (0, 1));
}

#[test]
fn a_client_that_leaves_gets_its_responses() {
    let mut peer = Peer::new();
    peer.send_all(&[get(1), frame(kind::GOAWAY, 0, 0, &[0; 8])]);
    assert!(!peer.connection.is_finished());
    peer.connection.respond(StreamId(1), ok(), StreamBody::Bytes(b"x".as_slice().into()));
    assert_eq!(body(&peer.receive(), 1), (b"x".to_vec(), true));
    assert!(peer.connection.is_finished());
}
