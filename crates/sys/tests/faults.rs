//! Faults in this process: of calls by every library, in every thread, and of a ring.
#![cfg(all(feature = "fault-injection", target_arch = "x86_64", target_env = "gnu"))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it skips"
)]

use karez_sys::BlockedSignals;
use karez_sys::faults::{Board, inject};
use rustix::io::Errno;
use std::fs::File;
use std::io::{IoSlice, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

/// The filter is that of the whole process, so one test makes every check.
#[test]
fn calls_fail_are_short_or_wait_by_the_plan() {
    if !std::path::Path::new("/proc/sys/kernel/seccomp/actions_avail").exists() {
        println!("skipped: this kernel has no filters");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("board");
    let board = Board::create(&path).unwrap();
    inject(&format!("@{}", path.display())).unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[7; 10_000]).unwrap();

    rustix_and_std_fail(&board, &file);
    lengths_are_smaller(&board, &file);
    a_call_waits(&board, &file);
    threads_have_the_plan(&board, &file);
    #[cfg(feature = "uring")]
    ring::operations_fail(&board, &file);

    board.disarm();
    assert_eq!(rustix::io::pread(&file, &mut [0; 100], 0), Ok(100));
}

fn arm(board: &Board, plan: &str) {
    board.arm(&plan.parse().unwrap());
}

fn injected(board: &Board) -> u64 {
    board.counts().iter().map(|count| count.injected).sum()
}

fn rustix_and_std_fail(board: &Board, file: &File) {
    arm(board, "pread64:2=EIO,openat:1=EMFILE");
    let mut bytes = [0; 8];
    assert_eq!(rustix::io::pread(file, &mut bytes, 0), Ok(8));
    assert_eq!(rustix::io::pread(file, &mut bytes, 0), Err(Errno::IO));
    assert_eq!(rustix::io::pread(file, &mut bytes, 0), Ok(8));
    let opened = File::open("/proc/self/status").unwrap_err();
    assert_eq!(opened.raw_os_error(), Some(Errno::MFILE.raw_os_error()));
    File::open("/proc/self/status").unwrap();
    assert_eq!(injected(board), 2);
}

fn lengths_are_smaller(board: &Board, file: &File) {
    let (near, mut far) = UnixStream::pair().unwrap();
    arm(board, "pread64:1=short,sendfile:1=short,writev:*=short,sendto:1=short,sendmsg:1=short");
    let read = rustix::io::pread(file, &mut [0; 1000], 0).unwrap();
    assert!((1..1000).contains(&read), "{read}");
    let sent = rustix::fs::sendfile(&near, file, Some(&mut 0), 3000).unwrap();
    assert!((1..3000).contains(&sent), "{sent}");
    let buffers = [IoSlice::new(&[1; 100]), IoSlice::new(&[2; 100])];
    let written = (&near).write_vectored(&buffers).unwrap();
    assert!((1..200).contains(&written), "{written}");
    let plain = rustix::net::send(&near, &[3; 50], rustix::net::SendFlags::empty()).unwrap();
    assert!((1..50).contains(&plain), "{plain}");
    let message = rustix::net::sendmsg(
        &near,
        &buffers,
        &mut rustix::net::SendAncillaryBuffer::default(),
        rustix::net::SendFlags::empty(),
    );
    let message = message.unwrap();
    assert!((1..200).contains(&message), "{message}");
    assert_eq!(injected(board), 5);
    // Exactly those bytes were moved.
    drop(near);
    let mut received = Vec::new();
    far.read_to_end(&mut received).unwrap();
    assert_eq!(received.len(), sent + written + plain + message);
}

fn a_call_waits(board: &Board, file: &File) {
    arm(board, "pread64:1=delay30");
    let start = Instant::now();
    assert_eq!(rustix::io::pread(file, &mut [0; 8], 0), Ok(8));
    assert!(start.elapsed() >= Duration::from_millis(30));
}

/// Also in a thread that has blocked all signals, as those of POSIX AIO have.
fn threads_have_the_plan(board: &Board, file: &File) {
    arm(board, "pread64:*=EIO");
    let read = || rustix::io::pread(file, &mut [0; 8], 0);
    thread::scope(|scope| {
        assert_eq!(scope.spawn(read).join().unwrap(), Err(Errno::IO));
        let blocked = scope.spawn(|| {
            let every: Vec<_> =
                (1..=31).filter_map(rustix::process::Signal::from_named_raw).collect();
            let _blocked = BlockedSignals::block(&every).unwrap();
            read()
        });
        assert_eq!(blocked.join().unwrap(), Err(Errno::IO));
    });
    assert_eq!(injected(board), 2);
}

#[cfg(feature = "uring")]
mod ring {
    use karez_sys::{Completion, Operation, Outcome, Ring, RingOptions, SharedFd};
    use std::sync::Arc;

    use super::*;

    fn complete(ring: &mut Ring, operation: Operation) -> Outcome {
        ring.start(1, operation);
        let mut done: Vec<Completion> = Vec::new();
        while done.is_empty() {
            ring.wait(None, &mut done).unwrap();
        }
        done.remove(0).outcome
    }

    pub(super) fn operations_fail(board: &Board, file: &File) {
        let Ok(mut ring) = Ring::new(RingOptions::default()) else {
            println!("skipped: no io_uring");
            return;
        };
        let file = shared(file.as_fd());
        let (near, mut far) = UnixStream::pair().unwrap();
        let socket = shared(near.as_fd());
        let read = |length: usize| Operation::Read {
            file: file.clone(),
            offset: 0,
            bytes: vec![0; length],
            from: 0,
            remote: false,
        };
        arm(board, "uring-read:1=EIO,uring-read:2=short,uring-read:4=EIO");
        let Outcome::Read { read: result, .. } = complete(&mut ring, read(100)) else { panic!() };
        assert_eq!(result, Err(Errno::IO));
        let Outcome::Read { read: result, .. } = complete(&mut ring, read(100)) else { panic!() };
        assert!((1..100).contains(&result.unwrap()));
        let Outcome::Read { read: result, .. } = complete(&mut ring, read(100)) else { panic!() };
        assert_eq!(result, Ok(100));
        let both = Operation::ReadThenSend {
            file: file.clone(),
            offset: 0,
            socket: socket.clone(),
            bytes: vec![0; 100],
            from: 0,
            more: false,
        };
        // What is linked behind it is not sent.
        let Outcome::ReadThenSent { read: result, sent, .. } = complete(&mut ring, both) else {
            panic!()
        };
        assert_eq!((result, sent), (Err(Errno::IO), Err(Errno::CANCELED)));
        assert_eq!(injected(board), 3);

        arm(board, "uring-send:1=ECONNRESET,uring-accept:1=EMFILE");
        let send = || Operation::Send {
            socket: socket.clone(),
            bytes: vec![5; 10],
            from: 0,
            more: false,
            zerocopy: false,
        };
        let Outcome::Sent { sent, .. } = complete(&mut ring, send()) else { panic!() };
        assert_eq!(sent, Err(Errno::CONNRESET));
        let Outcome::Sent { sent, .. } = complete(&mut ring, send()) else { panic!() };
        assert_eq!(sent, Ok(10));
        let Outcome::Accepted(accepted) = complete(&mut ring, Operation::Accept(socket.clone()))
        else {
            panic!()
        };
        assert_eq!(accepted.unwrap_err(), Errno::MFILE);
        drop((near, socket, ring));
        let mut received = Vec::new();
        far.read_to_end(&mut received).unwrap();
        assert_eq!(received, [5; 10], "a failed send sends nothing");
    }

    fn shared(fd: std::os::fd::BorrowedFd<'_>) -> SharedFd {
        Arc::new(fd.try_clone_to_owned().unwrap())
    }
}
