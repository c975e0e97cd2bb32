//! `MSG_ZEROCOPY`, whose notifications tokio takes for the end of the sending side.

use crate::pairs::{Seeded, Stream, dropped_after, file_of, narrow_pair, read_slowly};
use karez_transfer::tokio::{send, send_file};
use karez_transfer::{FileToSocket, Via};
use rustix::net::sockopt;
use std::sync::Arc;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

const SIZE: usize = 8 << 20;

/// On one thread: if the sender spun, the reader would never read.
#[tokio::test]
async fn news_in_the_error_queue_do_not_make_it_spin() {
    let bytes = Seeded(1).bytes(SIZE);
    let file = file_of(&bytes);
    let (near, far) = narrow_pair::<TcpStream>().await;
    let reader = tokio::spawn(read_slowly(far, 1));
    for round in 0..2 {
        let half = SIZE as u64 / 2;
        let range = round * half..(round + 1) * half;
        let report = send_file(&near, &file, range, Via::Zerocopy).await.unwrap();
        assert_eq!((report.effective, report.bytes), (Via::Zerocopy, half));
        assert_eq!(report.zerocopy.released, report.zerocopy.sends);
        // A send for each time that there was room, and one to find that there is none.
        let calls = report.calls;
        assert!(calls.sendto < 2000, "{calls:?}");
    }
    drop(near);
    assert!(reader.await.unwrap().0 == bytes);
}

#[tokio::test]
async fn it_is_not_done_before_the_zerocopy_completion() {
    let bytes = Seeded(2).bytes(128 << 10);
    let file = Arc::new(file_of(&bytes));
    let (near, mut far) = TcpStream::connected().await;
    // All bytes fit into the send buffer, and few into the receive buffer.
    sockopt::set_socket_recv_buffer_size(&far, 16 << 10).unwrap();
    sockopt::set_socket_send_buffer_size(&near, 4 << 20).unwrap();
    let mut transfer = FileToSocket::new(file, 0..bytes.len() as u64, Via::Zerocopy);
    while transfer.remaining() > 0 {
        let sent = dropped_after(1, send(&mut transfer, &near)).await;
        assert!(sent.is_none(), "{:?}", transfer.report());
        tokio::task::yield_now().await;
    }
    let notifications = transfer.report().zerocopy;
    assert!(notifications.released < notifications.sends, "{notifications:?}");
    let mut received = vec![0; bytes.len()];
    let (sent, read) = tokio::join!(send(&mut transfer, &near), far.read_exact(&mut received));
    sent.unwrap();
    read.unwrap();
    assert!(received == bytes);
    let notifications = transfer.report().zerocopy;
    assert_eq!(notifications.released, notifications.sends);
}

/// The completions of a dropped transfer stay unread.
#[tokio::test]
async fn others_go_on_where_one_was_dropped() {
    let bytes = Seeded(3).bytes(SIZE);
    let file = Arc::new(file_of(&bytes));
    let (near, far) = narrow_pair::<TcpStream>().await;
    let reader = tokio::spawn(read_slowly(far, 3));
    let mut transfer = FileToSocket::new(file.clone(), 0..SIZE as u64, Via::Zerocopy);
    assert!(dropped_after(4, send(&mut transfer, &near)).await.is_none());
    let sent = transfer.report().bytes;
    drop(transfer);
    for via in [Via::Sendfile, Via::Copy] {
        let middle = sent + (SIZE as u64 - sent) / 2;
        let range = if via == Via::Sendfile { sent..middle } else { middle..SIZE as u64 };
        let report = send_file(&near, &*file, range, via).await.unwrap();
        assert!(report.calls.sendfile + report.calls.sendto < 2000, "{report:?}");
    }
    drop(near);
    assert!(reader.await.unwrap().0 == bytes);
}

#[tokio::test]
async fn a_new_registration_forgets() {
    let bytes = Seeded(4).bytes(1 << 20);
    let file = file_of(&bytes);
    let (near, far) = narrow_pair::<TcpStream>().await;
    let reader = tokio::spawn(read_slowly(far, 4));
    send_file(&near, &file, 0..1 << 20, Via::Zerocopy).await.unwrap();
    let near = TcpStream::from_std(near.into_std().unwrap()).unwrap();
    let ready = near.ready(tokio::io::Interest::WRITABLE).await.unwrap();
    assert!(!ready.is_write_closed(), "{ready:?}");
    drop(near);
    assert!(reader.await.unwrap().0 == bytes);
}
