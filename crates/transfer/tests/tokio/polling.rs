//! The same transfers by polling, with a state between two polls.

use crate::pairs::{Seeded, Stream, file_of, narrow_pair, read_slowly};
use karez_transfer::tokio::{
    PollState, poll_copy, poll_receive, poll_relay, poll_send, poll_send_some,
};
use karez_transfer::{
    Direction, FileToFile, FileToSocket, OnMiss, Outbox, Settings, SocketToFile, SocketToSocket,
    Truncated, Via,
};
use rustix::fs::{Advice, fadvise, fdatasync};
use std::future::poll_fn;
use std::io::{self, Read as _, Seek as _};
use std::sync::{Arc, Mutex};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UnixStream};

const SIZE: usize = (3 << 20) + 7;

/// On one thread: if the sender spun, the reader would never read.
#[tokio::test]
async fn every_via_sends_to_a_slow_reader() {
    let bytes = Seeded(1).bytes(SIZE);
    let file = Arc::new(file_of(&bytes));
    for &via in Direction::FileToSocket.vias() {
        let (near, far) = narrow_pair::<TcpStream>().await;
        let reader = tokio::spawn(read_slowly(far, 1));
        let (mut transfer, mut state) =
            (FileToSocket::new(file.clone(), .., via), PollState::default());
        poll_fn(|context| poll_send(&mut transfer, &near, &mut state, context)).await.unwrap();
        drop(near);
        assert!(reader.await.unwrap().0 == bytes, "{via}");
        let calls = transfer.report().calls;
        assert!(calls.total() < 5000, "{via} spins: {calls:?}");
    }
}

#[tokio::test]
async fn a_limited_poll_moves_at_most_its_limit() {
    let bytes = Seeded(2).bytes(SIZE);
    let file = Arc::new(file_of(&bytes));
    for &via in Direction::FileToSocket.vias() {
        let (near, far) = narrow_pair::<UnixStream>().await;
        let reader = tokio::spawn(read_slowly(far, 2));
        let (mut transfer, mut state, mut seeded) =
            (FileToSocket::new(file.clone(), .., via), PollState::default(), Seeded(3));
        let mut sent = 0;
        while sent < SIZE as u64 {
            let most = 1 + seeded.below(200_000);
            let moved =
                poll_fn(|context| poll_send_some(&mut transfer, &near, most, &mut state, context));
            let moved = moved.await.unwrap();
            assert!((1..=most).contains(&moved), "{via}: {moved} of {most}");
            sent += moved;
        }
        poll_fn(|context| poll_send(&mut transfer, &near, &mut state, context)).await.unwrap();
        drop(near);
        assert!(reader.await.unwrap().0 == bytes, "{via}");
    }
}

#[tokio::test]
async fn a_shorter_file_is_truncated() {
    let (near, _far) = UnixStream::connected().await;
    let mut transfer = FileToSocket::new(file_of(b"under the desert"), 6..20, Via::Sendfile);
    let mut state = PollState::default();
    let sent =
        poll_fn(|context| poll_send_some(&mut transfer, &near, 99, &mut state, context)).await;
    assert_eq!(sent.unwrap(), 10);
    let error = poll_fn(|context| poll_send_some(&mut transfer, &near, 99, &mut state, context));
    let error = error.await.unwrap_err();
    let missing = error.get_ref().unwrap().downcast_ref::<Truncated>().unwrap().missing;
    assert_eq!((error.kind(), missing), (io::ErrorKind::UnexpectedEof, 4));
}

#[tokio::test]
async fn the_pool_reads_what_is_not_in_memory() {
    let bytes = Seeded(4).bytes(SIZE);
    let file = file_of(&bytes);
    fdatasync(&file).unwrap();
    fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    let (near, far) = narrow_pair::<TcpStream>().await;
    let reader = tokio::spawn(read_slowly(far, 4));
    let settings = Settings::from(Via::Sendfile).on_miss(OnMiss::Report);
    let mut outbox = Outbox::from(b"head".to_vec());
    outbox.push_file(FileToSocket::new(file, .., settings));
    let mut state = PollState::default();
    poll_fn(|context| poll_send(&mut outbox, &near, &mut state, context)).await.unwrap();
    drop(near);
    let received = reader.await.unwrap().0;
    assert!(received[..4] == *b"head" && received[4..] == bytes);
}

#[tokio::test]
async fn a_file_receives_and_a_relay_passes_on() {
    let bytes = Seeded(5).bytes(SIZE);
    for &via in Direction::SocketToSocket.vias() {
        let ((mut far, from), (to, near)) =
            (TcpStream::connected().await, narrow_pair::<UnixStream>().await);
        let mut stored = file_of(b"");
        let sending = async {
            far.write_all(&bytes).await.unwrap();
            far.shutdown().await.unwrap();
        };
        let relaying = async {
            let (mut transfer, mut state) = (SocketToSocket::new(None, via), PollState::default());
            poll_fn(|context| poll_relay(&mut transfer, &from, &to, &mut state, context))
                .await
                .unwrap();
            rustix::net::shutdown(&to, rustix::net::Shutdown::Write).unwrap();
        };
        let mut sink = SocketToFile::new(stored.try_clone().unwrap(), 0, None, via);
        let receiving = async {
            let mut state = PollState::default();
            poll_fn(|context| poll_receive(&mut sink, &near, &mut state, context)).await.unwrap();
        };
        tokio::join!(sending, relaying, receiving);
        let mut received = Vec::new();
        stored.rewind().unwrap();
        stored.read_to_end(&mut received).unwrap();
        assert!(received == bytes, "{via}");
    }
}

#[tokio::test]
async fn a_copy_continues_behind_a_dropped_future() {
    let bytes = Seeded(6).bytes(SIZE);
    let mut sink = file_of(b"");
    let transfer =
        FileToFile::new(file_of(&bytes), .., sink.try_clone().unwrap(), 0, Via::Sendfile);
    let transfer = Arc::new(Mutex::new(transfer));
    let mut state = PollState::default();
    let once = poll_fn(|context| {
        let polled = poll_copy(&transfer, &mut state, context);
        std::task::Poll::Ready(polled.is_ready())
    });
    assert!(!once.await, "it runs in the pool");
    poll_fn(|context| poll_copy(&transfer, &mut state, context)).await.unwrap();
    let mut copied = Vec::new();
    sink.rewind().unwrap();
    sink.read_to_end(&mut copied).unwrap();
    assert!(copied == bytes);
}
