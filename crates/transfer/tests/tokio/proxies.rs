//! Both directions at once: big, many, half closed, reset.

use crate::pairs::{Seeded, Stream, allow_descriptors, read_slowly};
use karez_transfer::tokio::proxy;
use karez_transfer::{Direction, Via};
use sha2::{Digest as _, Sha256};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

/// Sends seeded bytes and closes; meanwhile hashes the received bytes.
async fn peer(stream: impl Stream, seed: u64, count: usize) -> (Vec<u8>, Vec<u8>) {
    let (mut hears, mut says) = tokio::io::split(stream);
    let saying = async move {
        let (mut seeded, mut hash, mut left) = (Seeded(seed), Sha256::new(), count);
        while left > 0 {
            let part = seeded.bytes(left.min(64 << 10));
            says.write_all(&part).await.unwrap();
            hash.update(&part);
            left -= part.len();
        }
        says.shutdown().await.unwrap();
        hash.finalize().to_vec()
    };
    let hearing = async move {
        let (mut hash, mut buffer) = (Sha256::new(), vec![0; 48 << 10]);
        loop {
            match hears.read(&mut buffer).await.unwrap() {
                0 => return hash.finalize().to_vec(),
                got => hash.update(&buffer[..got]),
            }
        }
    };
    tokio::join!(saying, hearing)
}

async fn joined<A: Stream, B: Stream>(via: Via, seed: u64, there: usize, back: usize) {
    let ((client, a), (b, server)) = (A::connected().await, B::connected().await);
    let (client, server) =
        (tokio::spawn(peer(client, seed, there)), tokio::spawn(peer(server, !seed, back)));
    let [forth, came] = proxy(&a, &b, via).await.unwrap();
    assert_eq!((forth.bytes, came.bytes), (there as u64, back as u64));
    let ((said, heard), (answered, arrived)) = (client.await.unwrap(), server.await.unwrap());
    assert!(said == arrived && answered == heard, "{via}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn much_in_both_directions() {
    for &via in Direction::SocketToSocket.vias() {
        joined::<TcpStream, TcpStream>(via, 1, 16 << 20, (9 << 20) + 7).await;
        joined::<TcpStream, UnixStream>(via, 2, (5 << 20) + 1, 12 << 20).await;
        joined::<UnixStream, UnixStream>(via, 3, 0, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_at_once() {
    allow_descriptors();
    let tasks: Vec<_> = (0..200)
        .map(|seed| {
            let via = Direction::SocketToSocket.vias()[seed % 3];
            tokio::spawn(joined::<TcpStream, TcpStream>(via, seed as u64, 70_001, 130_003))
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn one_may_close_its_half_and_still_hear() {
    let ((mut client, a), (b, mut server)) =
        (TcpStream::connected().await, UnixStream::connected().await);
    let proxying = tokio::spawn(async move { proxy(&a, &b, Via::Auto).await });
    client.write_all(b"water?").await.unwrap();
    client.shutdown().await.unwrap();
    let mut question = String::new();
    server.read_to_string(&mut question).await.unwrap();
    assert_eq!(question, "water?", "and then its end, while the other half is open");
    server.write_all(b"under the desert").await.unwrap();
    assert!(!proxying.is_finished());
    drop(server);
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "under the desert");
    let [forth, back] = proxying.await.unwrap().unwrap();
    assert_eq!((forth.bytes, back.bytes), (6, 16));
}

#[tokio::test]
async fn a_reset_is_an_error_with_both_reports() {
    let ((mut client, a), (b, mut server)) =
        (TcpStream::connected().await, TcpStream::connected().await);
    let proxying = tokio::spawn(async move { proxy(&a, &b, Via::Splice).await });
    client.write_all(b"water?").await.unwrap();
    let mut question = [0; 6];
    server.read_exact(&mut question).await.unwrap();
    rustix::net::sockopt::set_socket_linger(&server, Some(Duration::ZERO)).unwrap();
    drop(server);
    let unfinished = proxying.await.unwrap().unwrap_err();
    assert_eq!(unfinished.error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!((unfinished.report[0].bytes, unfinished.report[1].bytes), (6, 0));
    assert_eq!(unfinished.in_flight, 0);
}

/// A peer that never stops must not keep the only thread to itself.
#[tokio::test]
async fn others_have_their_turn() {
    let ((mut spring, a), (b, field)) =
        (UnixStream::connected().await, UnixStream::connected().await);
    let (stop, mut stopped) = tokio::sync::oneshot::channel();
    let source = async move {
        let drop_of_water = vec![7; 64 << 10];
        while stopped.try_recv().is_err() {
            spring.write_all(&drop_of_water).await.unwrap();
        }
    };
    let other = tokio::spawn(async move {
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        stop.send(()).unwrap();
    });
    let proxying = async {
        let reports = proxy(&a, &b, Via::Auto).await;
        drop((a, b));
        reports
    };
    let proxied = tokio::spawn(proxying);
    let field = async {
        let (hears, says) = field.into_split();
        drop(says);
        read_slowly(hears, 1).await
    };
    let ((), (received, _)) = tokio::join!(source, field);
    other.await.unwrap();
    assert_eq!(proxied.await.unwrap().unwrap()[0].bytes, received.len() as u64);
}
