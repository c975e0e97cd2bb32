//! Operations of POSIX AIO whose signals the kernel cannot queue.
#![cfg(all(feature = "aio", target_env = "gnu"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use karez_sys::{Operation, Outcome, PosixAio, SharedFd};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

/// The limit is that of the whole process, so this file has one test.
#[test]
fn an_operation_without_a_signal_ends_with_an_error_and_keeps_nothing() {
    let mut aio = PosixAio::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let near = Arc::new(listener.accept().unwrap().0);
    let maximum = getrlimit(Resource::Sigpending).maximum;
    setrlimit(Resource::Sigpending, Rlimit { current: Some(0), maximum }).unwrap();

    let receiver: SharedFd = Arc::clone(&near) as SharedFd;
    let sender: SharedFd = Arc::new(near.try_clone().unwrap());
    let kept = [Arc::downgrade(&receiver), Arc::downgrade(&sender)];
    drop(near);
    aio.start(1, Operation::Receive(receiver));
    let (socket, bytes) = (sender, b"water".to_vec());
    aio.start(2, Operation::Send { socket, bytes, from: 0, more: false, zerocopy: false });
    far.write_all(b"more water").unwrap();
    let mut done = Vec::new();
    while done.len() < 2 {
        aio.wait(None, &mut done).unwrap();
    }
    for completion in done {
        // The bytes were moved, but glibc reports that the signal was not sent.
        match completion.outcome {
            Outcome::Received(result) => assert_eq!(result.err(), Some(Errno::IO)),
            Outcome::Sent { sent, .. } => assert_eq!(sent, Err(Errno::IO)),
            outcome => panic!("{outcome:?}"),
        }
    }
    assert_eq!(aio.in_flight(), 0);
    assert!(kept.iter().all(|socket| socket.upgrade().is_none()), "a descriptor is kept");
}
