//! Futures that are dropped at seeded points: the next call continues, and no byte is lost.

use crate::pairs::{Seeded, Stream, dropped_after, file_of, narrow_pair, read_slowly};
use karez_transfer::tokio::{Proxy, copy, receive, relay, send};
use karez_transfer::{Direction, FileToFile, FileToSocket, OnMiss, Settings};
use karez_transfer::{SocketToFile, SocketToSocket};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::yield_now;

const SIZE: usize = (3 << 20) + 7;
const SEEDS: u64 = 4;

async fn sending<S: Stream>() {
    let bytes = Seeded(1).bytes(SIZE);
    let file = Arc::new(file_of(&bytes));
    for &via in Direction::FileToSocket.vias() {
        for seed in 0..SEEDS {
            let (near, far) = narrow_pair::<S>().await;
            let reader = tokio::spawn(read_slowly(far, seed));
            let settings = Settings::from(via).on_miss(OnMiss::Report);
            let mut transfer = FileToSocket::new(file.clone(), 0..SIZE as u64, settings);
            let (mut seeded, mut dropped) = (Seeded(seed), 0);
            while dropped_after(1 + seeded.below(3), send(&mut transfer, &near))
                .await
                .map(Result::unwrap)
                .is_none()
            {
                dropped += 1;
                yield_now().await;
            }
            drop(near);
            assert!(reader.await.unwrap().0 == bytes, "{via}, seed {seed}");
            assert!(dropped > 0, "{via}: nothing was put to the test");
        }
    }
}

#[tokio::test]
async fn sending_by_tcp_goes_on() {
    sending::<TcpStream>().await;
}

#[tokio::test]
async fn sending_by_a_unix_socket_goes_on() {
    sending::<UnixStream>().await;
}

#[tokio::test]
async fn receiving_goes_on() {
    let bytes = Seeded(2).bytes(SIZE);
    for &via in Direction::SocketToFile.vias() {
        for seed in 0..SEEDS {
            let (near, mut far) = TcpStream::connected().await;
            let sent = bytes.clone();
            let writer = tokio::spawn(async move {
                for part in sent.chunks(100_003) {
                    far.write_all(part).await.unwrap();
                    yield_now().await;
                }
            });
            let file = Arc::new(file_of(b""));
            let mut transfer = SocketToFile::new(file.clone(), 0, None, via);
            let (mut seeded, mut dropped) = (Seeded(seed), 0);
            while dropped_after(1 + seeded.below(3), receive(&mut transfer, &near))
                .await
                .map(Result::unwrap)
                .is_none()
            {
                dropped += 1;
                yield_now().await;
            }
            writer.await.unwrap();
            let mut stored = vec![0; SIZE];
            file.read_exact_at(&mut stored, 0).unwrap();
            assert!(stored == bytes, "{via}, seed {seed}");
            assert!(dropped > 0, "{via}: nothing was put to the test");
        }
    }
}

/// Here bytes are in the pipe, or the buffer, when the future is dropped.
#[tokio::test]
async fn relaying_continues_with_the_bytes_in_the_pipe() {
    let bytes = Seeded(3).bytes(SIZE);
    for &via in Direction::SocketToSocket.vias() {
        let mut in_flight = 0;
        for seed in 0..SEEDS {
            let (mut spring, from) = TcpStream::connected().await;
            let (to, field) = narrow_pair::<UnixStream>().await;
            let sent = bytes.clone();
            let writer = tokio::spawn(async move { spring.write_all(&sent).await.unwrap() });
            let reader = tokio::spawn(read_slowly(field, seed));
            let mut transfer = SocketToSocket::new(None, via);
            let mut seeded = Seeded(seed);
            while dropped_after(1 + seeded.below(3), relay(&mut transfer, &from, &to))
                .await
                .map(Result::unwrap)
                .is_none()
            {
                in_flight = in_flight.max(transfer.in_flight());
                yield_now().await;
            }
            writer.await.unwrap();
            drop(to);
            assert!(reader.await.unwrap().0 == bytes, "{via}, seed {seed}");
        }
        assert!(in_flight > 0, "{via}: nothing was put to the test");
    }
}

async fn say(mut to: impl AsyncWrite + Unpin, said: &[u8]) {
    to.write_all(said).await.unwrap();
    to.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_proxy_goes_on_in_both_directions() {
    let bytes = [Seeded(4).bytes(SIZE), Seeded(5).bytes(SIZE)];
    for &via in Direction::SocketToSocket.vias() {
        for seed in 0..SEEDS {
            let (client, a) = narrow_pair::<TcpStream>().await;
            let (b, server) = narrow_pair::<UnixStream>().await;
            let (hears_client, says_client) = client.into_split();
            let (hears_server, says_server) = server.into_split();
            let peers = async {
                tokio::join!(
                    say(says_client, &bytes[0]),
                    say(says_server, &bytes[1]),
                    read_slowly(hears_client, seed),
                    read_slowly(hears_server, seed + 1),
                )
            };
            let proxying = async {
                let (mut proxy, mut seeded) = (Proxy::new(via), Seeded(seed));
                let mut dropped = 0;
                while dropped_after(1 + seeded.below(3), proxy.run(&a, &b))
                    .await
                    .map(Result::unwrap)
                    .is_none()
                {
                    dropped += 1;
                    yield_now().await;
                }
                dropped
            };
            let ((_, _, client_heard, server_heard), dropped) = tokio::join!(peers, proxying);
            assert!(server_heard.0 == bytes[0] && client_heard.0 == bytes[1], "{via}, {seed}");
            assert!(dropped > 0, "{via}: nothing was put to the test");
        }
    }
}

#[tokio::test]
async fn copying_goes_on() {
    let bytes = Seeded(6).bytes(SIZE);
    let source = Arc::new(file_of(&bytes));
    for &via in Direction::FileToFile.vias() {
        let sink = Arc::new(file_of(b""));
        let transfer = FileToFile::new(source.clone(), 0..SIZE as u64, sink.clone(), 0, via);
        let transfer = Arc::new(Mutex::new(transfer));
        // The pool has always still to answer when it is polled for the first time, or nearly.
        while dropped_after(1, copy(&transfer)).await.map(Result::unwrap).is_none() {
            yield_now().await;
            if transfer.lock().unwrap().remaining() == 0 {
                copy(&transfer).await.unwrap();
                break;
            }
        }
        let mut copied = vec![0; SIZE];
        sink.read_exact_at(&mut copied, 0).unwrap();
        assert!(copied == bytes, "{via}");
        assert_eq!(transfer.lock().unwrap().report().bytes, SIZE as u64, "{via}");
    }
}
