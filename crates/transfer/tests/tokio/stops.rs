//! Sources that end early, and peers that leave.

use crate::pairs::{Seeded, Stream, file_of, narrow_pair};
use karez_transfer::tokio::{Truncated, Unfinished, copy_file, receive_to_file, relay, send_file};
use karez_transfer::{Direction, SocketToSocket, Via};
use std::io::{self, ErrorKind};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UnixStream};

/// The missing bytes, in an error of tokio's usual kind.
fn missing(error: &io::Error) -> u64 {
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    error.get_ref().unwrap().downcast_ref::<Truncated>().unwrap().missing
}

#[tokio::test]
async fn a_file_that_is_shorter() {
    let file = file_of(&Seeded(1).bytes(5000));
    for &via in Direction::FileToSocket.vias() {
        let (near, _far) = TcpStream::connected().await;
        let unfinished = send_file(&near, &file, 1000..9000, via).await.unwrap_err();
        assert_eq!((missing(&unfinished.error), unfinished.report.bytes), (4000, 4000), "{via}");
        let error = io::Error::from(unfinished);
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        assert_eq!(error.to_string(), "the source ended 4000 bytes early");
        assert!(error.get_ref().unwrap().is::<Unfinished>());
    }
    for &via in Direction::FileToFile.vias() {
        let unfinished = copy_file(&file, 1000..9000, &file_of(b""), 0, via).await.unwrap_err();
        assert_eq!((missing(&unfinished.error), unfinished.report.bytes), (4000, 4000), "{via}");
    }
}

#[tokio::test]
async fn a_peer_that_closes_early() {
    for &via in Direction::SocketToFile.vias() {
        let (near, mut far) = UnixStream::pair().unwrap();
        far.write_all(b"under the desert").await.unwrap();
        drop(far);
        let received = receive_to_file(&near, &file_of(b""), 0, Some(20), via).await;
        let unfinished = received.unwrap_err();
        assert_eq!((missing(&unfinished.error), unfinished.report.bytes), (4, 16), "{via}");
    }
    for &via in Direction::SocketToSocket.vias() {
        let ((from, mut far), (to, _field)) =
            (TcpStream::connected().await, TcpStream::connected().await);
        far.write_all(b"under the desert").await.unwrap();
        drop(far);
        let mut transfer = SocketToSocket::new(Some(20), via);
        let error = relay(&mut transfer, &from, &to).await.unwrap_err();
        assert_eq!((missing(&error), transfer.report().bytes), (4, 16), "{via}");
    }
}

#[tokio::test]
async fn a_peer_that_resets() {
    let file = file_of(&Seeded(2).bytes(8 << 20));
    for &via in Direction::FileToSocket.vias() {
        let (near, far) = narrow_pair::<TcpStream>().await;
        let sending = send_file(&near, &file, 0..8 << 20, via);
        let leaving = async {
            far.peek(&mut [0]).await.unwrap(); // it has begun
            rustix::net::sockopt::set_socket_linger(&far, Some(Duration::ZERO)).unwrap();
            drop(far);
        };
        let unfinished = tokio::join!(sending, leaving).0.unwrap_err();
        let kind = unfinished.error.kind();
        assert!(matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{via} {kind}");
        assert!((1..8 << 20).contains(&unfinished.report.bytes), "{via}");
    }
}

#[tokio::test]
async fn lost_bytes_are_reported() {
    // The sink is shut down for sending: bytes taken from the source cannot be sent.
    for via in [Via::Splice, Via::Copy] {
        let ((mut far, a), (b, server)) =
            (TcpStream::connected().await, UnixStream::pair().unwrap());
        rustix::net::shutdown(&b, rustix::net::Shutdown::Write).unwrap();
        far.write_all(b"under the desert").await.unwrap();
        let unfinished = karez_transfer::tokio::proxy(&a, &b, via).await.unwrap_err();
        assert_eq!((unfinished.error.kind(), unfinished.in_flight), (ErrorKind::BrokenPipe, 16));
        assert!(unfinished.to_string().ends_with("(16 bytes in flight were lost)"));
        drop(server);
    }
}
