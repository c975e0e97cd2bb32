//! Byte-exactness: every via of every direction, to and from slow peers.

use crate::pairs::{SIZES, Seeded, Stream, file_of, narrow_pair, read_slowly};
use karez_transfer::tokio::{copy_file, receive_to_file, relay, send_file};
use karez_transfer::{Direction, Report, SocketToSocket, Via};
use std::os::unix::fs::FileExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UnixStream};

fn tells_the_truth(report: &Report, via: Via, bytes: usize) {
    assert_eq!((report.requested, report.bytes), (via, bytes as u64));
    // Without bytes there was nothing to choose.
    assert!(bytes == 0 || report.effective != Via::Auto, "{report:?}");
    assert!(
        via == Via::Auto || report.effective == via || !report.fallbacks.is_empty() || bytes == 0
    );
}

async fn a_file_leaves<S: Stream>() {
    for (seed, &size) in SIZES.iter().enumerate() {
        let bytes = Seeded(seed as u64).bytes(size + 8);
        let file = file_of(&bytes);
        for &via in Direction::FileToSocket.vias() {
            let (near, far) = narrow_pair::<S>().await;
            let reader = tokio::spawn(read_slowly(far, seed as u64));
            let report = send_file(&near, &file, 3..3 + size as u64, via).await.unwrap();
            drop(near);
            let (received, _) = reader.await.unwrap();
            assert!(received == bytes[3..3 + size], "{via}, {size} bytes");
            tells_the_truth(&report, via, size);
        }
    }
}

#[tokio::test]
async fn a_file_leaves_by_tcp() {
    a_file_leaves::<TcpStream>().await;
}

#[tokio::test]
async fn a_file_leaves_by_a_unix_socket() {
    a_file_leaves::<UnixStream>().await;
}

/// With `promised` the peer stays, so the end has to be known by the count.
async fn a_file_arrives<S: Stream>(promised: bool) {
    for (seed, &size) in SIZES.iter().enumerate() {
        let bytes = Seeded(seed as u64).bytes(size);
        for &via in Direction::SocketToFile.vias() {
            let (mut far, near) = narrow_pair::<S>().await;
            let sent = bytes.clone();
            let writer = tokio::spawn(async move {
                for part in sent.chunks(50_000) {
                    far.write_all(part).await.unwrap();
                    tokio::task::yield_now().await;
                }
                promised.then_some(far)
            });
            let file = file_of(b"...");
            let len = promised.then_some(size as u64);
            let report = receive_to_file(&near, &file, 3, len, via).await.unwrap();
            drop(writer.await.unwrap());
            let mut stored = vec![0; size + 3];
            file.read_exact_at(&mut stored, 0).unwrap();
            assert!(stored[..3] == *b"..." && stored[3..] == bytes, "{via}, {size} bytes");
            assert_eq!(file.metadata().unwrap().len(), size as u64 + 3);
            tells_the_truth(&report, via, size);
        }
    }
}

#[tokio::test]
async fn a_file_arrives_by_tcp() {
    a_file_arrives::<TcpStream>(false).await;
    a_file_arrives::<TcpStream>(true).await;
}

#[tokio::test]
async fn a_file_arrives_by_a_unix_socket() {
    a_file_arrives::<UnixStream>(false).await;
    a_file_arrives::<UnixStream>(true).await;
}

/// From a TCP socket to a UNIX socket, and back.
async fn a_stream_is_relayed<F: Stream, T: Stream>() {
    for (seed, &size) in SIZES.iter().enumerate() {
        let bytes = Seeded(seed as u64).bytes(size);
        for &via in Direction::SocketToSocket.vias() {
            let (mut spring, from) = F::connected().await;
            let (to, field) = narrow_pair::<T>().await;
            let sent = bytes.clone();
            // It stays: the end is known by the count.
            let writer = tokio::spawn(async move {
                spring.write_all(&sent).await.unwrap();
                spring
            });
            let reader = tokio::spawn(read_slowly(field, seed as u64));
            let mut transfer = SocketToSocket::new(Some(size as u64), via);
            relay(&mut transfer, &from, &to).await.unwrap();
            drop((to, writer.await.unwrap()));
            assert!(reader.await.unwrap().0 == bytes, "{via}, {size} bytes");
            assert_eq!(transfer.in_flight(), 0);
            tells_the_truth(transfer.report(), via, size);
        }
    }
}

#[tokio::test]
async fn a_stream_is_relayed_between_kinds() {
    a_stream_is_relayed::<TcpStream, UnixStream>().await;
    a_stream_is_relayed::<UnixStream, TcpStream>().await;
}

#[tokio::test]
async fn a_file_is_copied() {
    for (seed, &size) in SIZES.iter().enumerate() {
        let bytes = Seeded(seed as u64).bytes(size + 8);
        let from = file_of(&bytes);
        for &via in Direction::FileToFile.vias() {
            let to = file_of(b"...");
            let report = copy_file(&from, 3..3 + size as u64, &to, 3, via).await.unwrap();
            let mut copied = vec![0; size + 3];
            to.read_exact_at(&mut copied, 0).unwrap();
            assert!(copied[3..] == bytes[3..3 + size], "{via}, {size} bytes");
            assert_eq!(to.metadata().unwrap().len(), size as u64 + 3);
            tells_the_truth(&report, via, size);
        }
    }
}
