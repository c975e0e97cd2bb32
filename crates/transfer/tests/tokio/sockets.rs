//! Halves, shared sockets, sockets of another library, and outboxes.

use crate::pairs::{Seeded, Stream, file_of};
use karez_transfer::tokio::{Socket, proxy, receive_to_file, send, send_file};
use karez_transfer::{FileToSocket, Outbox, Piped, Progress, Via};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt as _, Interest};
use tokio::net::unix::pipe;
use tokio::net::{TcpStream, UnixStream};

const SIZE: usize = (1 << 20) + 7;

async fn carries(from: impl Socket, to: impl Socket, name: &str) {
    let bytes = Seeded(7).bytes(SIZE);
    let (file, stored) = (file_of(&bytes), file_of(b""));
    let sending = async {
        send_file(&from, &file, .., Via::Auto).await.unwrap();
        drop(from);
    };
    let receiving = receive_to_file(&to, &stored, 0, Some(SIZE as u64), Via::Auto);
    let ((), received) = tokio::join!(sending, receiving);
    assert_eq!(received.unwrap().bytes, SIZE as u64, "{name}");
}

#[tokio::test]
async fn every_kind_of_socket_sends_and_receives() {
    let (near, far) = TcpStream::connected().await;
    carries(near.into_split().1, far.into_split().0, "owned halves").await;
    let (mut near, mut far) = UnixStream::connected().await;
    carries(near.split().1, far.split().0, "borrowed halves").await;
    let (near, far) = UnixStream::connected().await;
    carries(Arc::new(near), &far, "shared").await;
    let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    let registered = |socket: std::os::unix::net::UnixStream| {
        socket.set_nonblocking(true).unwrap();
        #[allow(deprecated, reason = "since tokio 1.53.3; 1.47 has no other")]
        AsyncFd::new(OwnedFd::from(socket)).unwrap()
    };
    carries(registered(near), registered(far), "a descriptor").await;
}

/// Drives a step to its end, under the readiness of a pipe.
async fn drive(
    pipe: &AsyncFd<OwnedFd>,
    interest: Interest,
    mut step: impl FnMut() -> std::io::Result<Progress>,
) {
    loop {
        let mut ready = pipe.ready(interest).await.unwrap();
        match step().unwrap() {
            Progress::Moved(_) => {}
            Progress::NeedsReadable | Progress::NeedsWritable => ready.clear_ready(),
            Progress::Done => return,
            other => panic!("{other}"),
        }
    }
}

/// As the documentation of the module does.
#[tokio::test]
async fn pipes_of_tokio_carry_steps() {
    let bytes = Seeded(10).bytes(SIZE);
    for via in [Via::Splice, Via::Copy] {
        let (sender, receiver) = pipe::pipe().unwrap();
        #[allow(deprecated, reason = "since tokio 1.53.3; 1.47 has no other")]
        let registered = |pipe| AsyncFd::new(pipe).unwrap();
        let sender = registered(sender.into_nonblocking_fd().unwrap());
        let receiver = registered(receiver.into_nonblocking_fd().unwrap());
        let (file, stored) = (file_of(&bytes), file_of(b""));
        let mut sending = Piped::from_file(0..SIZE as u64, via);
        let mut receiving = Piped::to_file(0, None, via);
        let send = async {
            let step = || sending.step(file.as_fd(), sender.as_fd());
            drive(&sender, Interest::WRITABLE, step).await;
            drop(sender);
        };
        let step = || receiving.step(receiver.as_fd(), stored.as_fd());
        tokio::join!(send, drive(&receiver, Interest::READABLE, step));
        assert_eq!(receiving.report().bytes, SIZE as u64, "{via}");
        let mut arrived = vec![0; SIZE];
        stored.read_exact_at(&mut arrived, 0).unwrap();
        assert!(arrived == bytes, "{via}");
    }
}

/// A task of its own for each direction, as after `into_split`.
#[tokio::test]
async fn a_half_may_be_used_elsewhere_meanwhile() {
    let (near, far) = TcpStream::connected().await;
    let (mut reads, writes) = near.into_split();
    let echo = tokio::spawn(async move { proxy(&far, &far, Via::Splice).await });
    let bytes = Seeded(8).bytes(SIZE);
    let file = file_of(&bytes);
    let reading = tokio::spawn(async move {
        let mut received = Vec::new();
        reads.read_to_end(&mut received).await.unwrap();
        received
    });
    send_file(&writes, &file, .., Via::Sendfile).await.unwrap();
    drop(writes); // shuts the sending side down
    assert!(reading.await.unwrap() == bytes);
    echo.abort();
}

#[tokio::test]
async fn an_outbox_sends_heads_and_files_in_order() {
    let bytes = Seeded(9).bytes(SIZE);
    let file = Arc::new(file_of(&bytes));
    let (near, mut far) = TcpStream::connected().await;
    let (mut outbox, mut expected) = (Outbox::new(), Vec::new());
    for (head, range) in [("small", 5..99), ("large", 0..SIZE), ("none", 7..7)] {
        outbox.push_bytes(head.into());
        outbox.push_file(FileToSocket::new(
            file.clone(),
            range.start as u64..range.end as u64,
            Via::Auto,
        ));
        expected.extend_from_slice(head.as_bytes());
        expected.extend_from_slice(&bytes[range]);
    }
    outbox.report_misses();
    let sending = async {
        send(&mut outbox, &near).await.unwrap();
        drop(near);
    };
    let mut received = Vec::new();
    let (read, ()) = tokio::join!(far.read_to_end(&mut received), sending);
    read.unwrap();
    assert!(received == expected);
}
