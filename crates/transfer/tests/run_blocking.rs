//! `run_blocking` of every direction and of the outbox, on blocking and non-blocking sockets.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use karez_transfer::{
    Device, Direction, FileToFile, FileToSocket, OnMiss, Outbox, Piped, Settings, SocketToFile,
    SocketToSocket, Truncated, Via,
};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// More than the buffers of a socket, so that a non-blocking one has to be polled.
const SIZE: usize = 8 << 20;

fn content() -> Vec<u8> {
    (0..SIZE).map(|at| (at / 3 + at / 1000).to_le_bytes()[0]).collect()
}

fn file_of(content: &[u8]) -> Arc<File> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    Arc::new(file)
}

fn pair(nonblocking: bool) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    near.set_nonblocking(nonblocking).unwrap();
    (near, far)
}

fn read_all(mut far: TcpStream) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut received = Vec::new();
        far.read_to_end(&mut received).unwrap();
        received
    })
}

#[test]
fn a_file_is_sent_by_every_via_in_both_modes() {
    let content = content();
    let source = file_of(&content);
    for &via in Direction::FileToSocket.vias() {
        for nonblocking in [false, true] {
            let (near, far) = pair(nonblocking);
            let reader = read_all(far);
            // Page-ins are not needed, whatever the settings.
            let settings = Settings::from(via).on_miss(OnMiss::Report);
            let mut transfer = FileToSocket::new(source.clone(), 0..SIZE as u64, settings);
            let report = transfer.run_blocking(&near).unwrap();
            assert_eq!(report.bytes, SIZE as u64, "{report}");
            drop(near);
            assert!(reader.join().unwrap() == content, "{via}, non-blocking: {nonblocking}");
        }
    }
}

#[test]
fn a_remote_file_is_sent() {
    let content = content();
    let (near, far) = pair(true);
    let reader = read_all(far);
    let device = Device { number: 7, remote: true };
    let settings = Settings::default().device(device).on_miss(OnMiss::Report);
    let mut transfer = FileToSocket::new(file_of(&content), 0..SIZE as u64, settings);
    assert_eq!(transfer.run_blocking(&near).unwrap().bytes, SIZE as u64);
    drop(near);
    assert!(reader.join().unwrap() == content);
}

#[test]
fn a_socket_is_stored_and_relayed_in_both_modes() {
    let content = content();
    for &via in Direction::SocketToFile.vias() {
        for nonblocking in [false, true] {
            let (from, mut client) = pair(nonblocking);
            let (to, stored) = pair(nonblocking);
            stored.set_nonblocking(nonblocking).unwrap();
            let sink = Arc::new(tempfile::tempfile().unwrap());
            let mut received = vec![0; SIZE];
            thread::scope(|scope| {
                scope.spawn(|| client.write_all(&content).map(|()| drop(client)).unwrap());
                scope.spawn(move || {
                    let mut relay = SocketToSocket::new(None, via);
                    assert_eq!(relay.run_blocking(&from, &to).unwrap().bytes, SIZE as u64);
                });
                let mut store = SocketToFile::new(sink.clone(), 0, None, via);
                assert_eq!(store.run_blocking(&stored).unwrap().bytes, SIZE as u64);
            });
            sink.read_exact_at(&mut received, 0).unwrap();
            assert!(received == content, "{via}, non-blocking: {nonblocking}");
        }
    }
}

#[test]
fn a_file_is_copied_by_every_via() {
    let content = content();
    for &via in Direction::FileToFile.vias() {
        let sink = Arc::new(tempfile::tempfile().unwrap());
        let settings = Settings::from(via).on_miss(OnMiss::Report);
        let source = file_of(&content);
        let mut copy = FileToFile::new(source, 0..SIZE as u64, sink.clone(), 0, settings);
        assert_eq!(copy.run_blocking().unwrap().bytes, SIZE as u64, "{via}");
        let mut copied = vec![0; SIZE];
        sink.read_exact_at(&mut copied, 0).unwrap();
        assert!(copied == content, "{via}");
    }
}

#[test]
fn a_full_pipe_is_polled() {
    let content = content();
    let source = file_of(&content);
    for &via in Direction::FileToPipe.vias() {
        let (mut reader, writer) = io::pipe().unwrap();
        let receiver = thread::spawn(move || {
            let mut received = Vec::new();
            reader.read_to_end(&mut received).unwrap();
            received
        });
        let mut transfer = Piped::from_file(0..SIZE as u64, via);
        assert_eq!(transfer.run_blocking(&source, &writer).unwrap().bytes, SIZE as u64, "{via}");
        drop(writer);
        assert!(receiver.join().unwrap() == content, "{via}");
    }
}

#[test]
fn an_outbox_is_sent_in_both_modes() {
    let content = content();
    for nonblocking in [false, true] {
        let (near, far) = pair(nonblocking);
        let reader = read_all(far);
        let mut outbox = Outbox::from(b"head".to_vec());
        outbox.report_misses();
        outbox.push_file(FileToSocket::new(file_of(&content), 0..SIZE as u64, Via::Auto));
        outbox.push_bytes(b"between".to_vec());
        outbox.push_file(FileToSocket::new(file_of(b"small"), 0..5, Via::Auto));
        outbox.run_blocking(&near).unwrap();
        assert!(outbox.is_empty());
        drop(near);
        let received = reader.join().unwrap();
        assert!(received == [b"head", &content[..], b"between", b"small"].concat());
    }
}

#[test]
fn an_early_end_is_an_error_with_the_missing_bytes() {
    let (near, _far) = pair(false);
    let error = FileToSocket::new(file_of(b"short"), 0..9, Via::Auto).run_blocking(&near).map(drop);
    let error = error.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    let truncated = error.get_ref().unwrap().downcast_ref::<Truncated>().unwrap();
    assert_eq!(truncated.missing, 4);
}

#[test]
fn an_expired_timeout_of_a_blocking_socket_is_an_error() {
    let (near, _far) = pair(false);
    near.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    let sink = Arc::new(tempfile::tempfile().unwrap());
    let received = SocketToFile::new(sink, 0, Some(1), Via::Copy).run_blocking(&near).map(drop);
    assert_eq!(received.unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[test]
fn bytes_read_ahead_go_first() {
    for (ahead, len, stored) in [
        (&b"under "[..], Some(16), &b"under the desert"[..]),
        (b"under ", None, b"under the desert and more"),
        (b"under the desert", Some(5), b"under"),
        (b"", Some(10), b"the desert"),
    ] {
        let (near, mut far) = UnixStream::pair().unwrap();
        far.write_all(b"the desert and more").unwrap();
        drop(far);
        let file = Arc::new(tempfile::tempfile().unwrap());
        let mut transfer =
            SocketToFile::new(file.clone(), 3, len, Via::Splice).starting_with(ahead);
        assert_eq!(transfer.in_flight(), ahead.len().min(stored.len()) as u64);
        let report = transfer.run_blocking(&near).unwrap();
        assert_eq!(report.bytes, stored.len() as u64);
        let mut content = vec![0; stored.len() + 3];
        file.read_exact_at(&mut content, 0).unwrap();
        assert_eq!(&content[3..], stored);
        assert_eq!(file.metadata().unwrap().len(), content.len() as u64);
    }
}
