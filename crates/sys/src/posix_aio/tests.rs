use super::*;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

fn wait_for(aio: &mut PosixAio, count: usize) -> Vec<Completion> {
    let mut done = Vec::new();
    while done.len() < count {
        aio.wait(None, &mut done).unwrap();
    }
    done
}

fn pair() -> (Arc<TcpStream>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (Arc::new(listener.accept().unwrap().0), far)
}

#[test]
fn files_are_read_and_bytes_sent_and_received() {
    let mut aio = PosixAio::new().unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"under the desert").unwrap();
    let file: SharedFd = Arc::new(file);
    let bytes = [b"head ".to_vec(), vec![0; 10]].concat();
    aio.start(1, Operation::Read { file, offset: 6, bytes, from: 5, remote: false });
    let Outcome::Read { bytes, read } = wait_for(&mut aio, 1).remove(0).outcome else { panic!() };
    assert_eq!((read, &bytes[..]), (Ok(10), &b"head the desert"[..]));

    let (near, mut far) = pair();
    let socket: SharedFd = near;
    aio.start(2, Operation::Receive(Arc::clone(&socket)));
    // Another number, so that it does not wait for the receive.
    let out: SharedFd = Arc::new((*socket).as_fd().try_clone_to_owned().unwrap());
    aio.start(3, Operation::Send { socket: out, bytes, from: 5, more: false, zerocopy: false });
    let done = wait_for(&mut aio, 1).remove(0);
    assert!(matches!(done.outcome, Outcome::Sent { sent: Ok(10), .. }) && done.tag == 3);
    let mut got = [0; 10];
    far.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"the desert");
    far.write_all(b"hello").unwrap();
    let Outcome::Received(Ok(received)) = wait_for(&mut aio, 1).remove(0).outcome else { panic!() };
    assert_eq!(&*received, b"hello");
    assert_eq!(aio.in_flight(), 0);
}

#[test]
fn simultaneous_operations_have_their_own_results() {
    let mut aio = PosixAio::new().unwrap();
    let pairs: Vec<_> = (0..200).map(|_| pair()).collect();
    for ((near, _), tag) in pairs.iter().zip(0..) {
        aio.start(tag, Operation::Receive(Arc::clone(near) as SharedFd));
    }
    for ((_, far), tag) in pairs.iter().zip(0_u64..) {
        { far }.write_all(&tag.to_ne_bytes()).unwrap();
    }
    let mut tags: Vec<_> = wait_for(&mut aio, 200)
        .into_iter()
        .map(|one| {
            let Outcome::Received(Ok(bytes)) = one.outcome else { panic!() };
            assert_eq!(&*bytes, one.tag.to_ne_bytes());
            one.tag
        })
        .collect();
    tags.sort_unstable();
    assert_eq!(tags, (0..200).collect::<Vec<_>>());
}

#[test]
fn it_can_be_dropped_with_running_operations() {
    let mut aio = PosixAio::new().unwrap();
    let (near, mut far) = pair();
    let key = aio.start(1, Operation::Receive(near as SharedFd));
    aio.abort(key);
    let Outcome::Received(Ok(end)) = wait_for(&mut aio, 1).remove(0).outcome else { panic!() };
    assert!(end.is_empty());
    assert_eq!(far.read(&mut [0; 1]).unwrap(), 0);
    let (near, _far) = pair();
    aio.start(1, Operation::Receive(near as SharedFd));
    drop(aio);
}

#[test]
fn connections_are_accepted_and_polls_cancelled() {
    let mut aio = PosixAio::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let key = aio.start(1, Operation::Accept(Arc::new(listener)));
    for _ in 0..3 {
        let _far = TcpStream::connect(address).unwrap();
        let done = wait_for(&mut aio, 1).remove(0);
        assert!(matches!(done.outcome, Outcome::Accepted(Ok(_))) && !done.last);
    }
    aio.cancel(key);
    let done = wait_for(&mut aio, 1).remove(0);
    assert!(matches!(done.outcome, Outcome::Accepted(Err(Errno::CANCELED))) && done.last);
    assert_eq!(aio.in_flight(), 0);
}

/// More than the pipe of the notifications holds.
#[test]
fn operations_whose_notifications_are_lost_end() {
    const SENDS: u64 = 17_500;
    let mut aio = PosixAio::new().unwrap();
    let (near, mut far) = pair();
    let socket: SharedFd = Arc::clone(&near) as SharedFd;
    for tag in 0..SENDS {
        let (socket, bytes) = (Arc::clone(&socket), vec![tag as u8]);
        aio.start(tag, Operation::Send { socket, bytes, from: 0, more: false, zerocopy: false });
    }
    // All of one descriptor are made in turn, so all but the last have been notified of before any is taken.
    let mut sent = vec![0; SENDS as usize];
    far.read_exact(&mut sent).unwrap();
    let done = wait_for(&mut aio, sent.len());
    assert!(done.iter().all(|one| matches!(one.outcome, Outcome::Sent { sent: Ok(1), .. })));
    assert_eq!(aio.in_flight(), 0);
    drop(socket);
    assert_eq!(Arc::strong_count(&near), 1, "a descriptor is kept");
}
