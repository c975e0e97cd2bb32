//! `MSG_ZEROCOPY` keeps the pages until their release: the mutation probe.
//!
//! The file is overwritten behind the sender and before the receiver reads. The received bytes show
//! whether the socket still referred to the pages of the file.

use karez_transfer::{Copied, Direction, FileToSocket, Progress, Settings, Via};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::io::ioctl_fionbio;
use rustix::net::sockopt;
use std::fs::File;
use std::io::Read as _;
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use crate::case::{Case, Transport};
use crate::random::{Random, pattern};
use crate::stage::{DISK, Plan};
use crate::tracer::trace;

/// More than the receiver's buffer, less than the sender's.
const LEN: usize = 1 << 20;

/// A file of As, and a pair with a large send buffer and a small receive buffer.
fn lopsided(transport: Transport) -> (Arc<File>, OwnedFd, OwnedFd) {
    let file = tempfile::tempfile_in(DISK).unwrap();
    file.write_all_at(&[b'A'; LEN], 0).unwrap();
    let (near, far) = transport.pair();
    // The kernel doubles it and counts more than the bytes; it may also give less.
    sockopt::set_socket_send_buffer_size(&near, 4 * LEN).unwrap();
    sockopt::set_socket_recv_buffer_size(&far, 100_000).unwrap();
    ioctl_fionbio(&near, true).unwrap();
    (Arc::new(file), near, far)
}

/// Reads so many bytes and returns the number of Bs.
fn changed(far: &OwnedFd, len: usize) -> usize {
    let mut received = vec![0; len];
    TcpStream::from(far.try_clone().unwrap()).read_exact(&mut received).unwrap();
    assert!(received.iter().all(|byte| [b'A', b'B'].contains(byte)));
    received.iter().filter(|&&byte| byte == b'B').count()
}

fn wait(socket: &OwnedFd, flags: PollFlags) {
    poll(&mut [PollFd::new(socket, flags)], None).unwrap();
}

#[test]
fn it_is_not_done_before_the_zerocopy_completion() {
    let (file, near, far) = lopsided(Transport::Tcp);
    let mut transfer = FileToSocket::new(file, 0..LEN as u64, Via::Zerocopy);
    loop {
        match transfer.step(near.as_fd()).unwrap() {
            Progress::Moved(_) => {}
            Progress::NeedsZerocopyCompletion if transfer.remaining() > 0 => {
                wait(&near, PollFlags::empty());
            }
            Progress::NeedsZerocopyCompletion => break,
            Progress::NeedsWritable => {
                println!("skipped: this socket has no room for all that it is lent");
                return;
            }
            other => panic!("{other:?}, and the receiver has read nothing"),
        }
    }
    // The socket still refers to bytes for which the receiver has no room, after any number of steps.
    for _ in 0..3 {
        assert_eq!(transfer.step(near.as_fd()).unwrap(), Progress::NeedsZerocopyCompletion);
    }
    let told = transfer.report().zerocopy;
    assert!(told.released < told.sends, "{told:?}");
    assert_eq!(transfer.report().bytes, LEN as u64);
    assert_eq!(changed(&far, LEN), 0);
    while transfer.step(near.as_fd()).unwrap() == Progress::NeedsZerocopyCompletion {
        wait(&near, PollFlags::empty());
    }
    assert_eq!(transfer.step(near.as_fd()).unwrap(), Progress::Done);
    let told = transfer.report().zerocopy;
    assert_eq!(told.released, told.sends);
}

/// Sends a part that the receiver has room for to the end, changes the file, and only then reads.
fn probe(via: Via, transport: Transport) -> (usize, FileToSocket) {
    let (file, near, far) = lopsided(transport);
    let len = 64 << 10;
    let mut transfer = FileToSocket::new(file.clone(), 0..len, via);
    loop {
        match transfer.step(near.as_fd()).unwrap() {
            Progress::Moved(_) => {}
            Progress::NeedsZerocopyCompletion => wait(&near, PollFlags::empty()),
            Progress::Done => break,
            other => panic!("{via} {transport:?}: {other:?}"),
        }
    }
    file.write_all_at(&[b'B'; LEN], 0).unwrap();
    (changed(&far, len as usize), transfer)
}

#[test]
fn writes_after_the_end_do_not_arrive() {
    let (changed, transfer) = probe(Via::Zerocopy, Transport::Tcp);
    assert_eq!(changed, 0);
    let report = transfer.report();
    assert!(report.zerocopy.sends > 0 && report.fallbacks.is_empty(), "{report:?}");
    // On loopback the kernel copies after all, and reports it.
    assert_eq!((report.copied(), report.effective), (Copied::Yes, Via::Zerocopy));
    assert!(report.zerocopy.copied > 0, "{report:?}");
    for transport in Transport::ALL {
        for via in [Via::Copy, Via::Mmap, Via::Direct, Via::Cow] {
            assert_eq!(probe(via, transport).0, 0, "{via} {transport:?}");
        }
    }
}

#[test]
fn bytes_passed_by_reference_still_change() {
    for transport in Transport::ALL {
        for via in [Via::Sendfile, Via::Splice] {
            let (changed, transfer) = probe(via, transport);
            assert_eq!(transfer.report().copied(), Copied::No);
            if changed == 0 {
                println!("skipped: this kernel copies for {via} to {transport:?}");
            }
        }
    }
}

#[test]
fn below_the_threshold_it_does_not_bother() {
    for (len, sends) in [(1, 0), ((16 << 10) - 1, 0), (16 << 10, 1)] {
        let case = Case::new(Direction::FileToSocket, Via::Zerocopy, Transport::Tcp, true);
        let outcome = Plan::new(case, pattern(len, 5)).stage().run(&mut Random::of(1));
        assert_eq!(outcome.end.unwrap(), Progress::Done);
        assert_eq!(outcome.report.zerocopy.sends, sends, "{len}");
        assert_eq!(outcome.report.effective, Via::Zerocopy);
    }
}

#[test]
fn one_after_the_other_on_one_socket_numbers_go_on() {
    let (near, far) = Transport::Tcp.pair();
    let content = pattern(200_000, 6);
    let file = tempfile::tempfile_in(DISK).unwrap();
    file.write_all_at(&content, 0).unwrap();
    let file = Arc::new(file);
    let drainer = std::thread::spawn(move || {
        let mut received = Vec::new();
        TcpStream::from(far).read_to_end(&mut received).map(|_| received)
    });
    for _ in 0..3 {
        let settings = Settings::from(Via::Zerocopy).chunk(30_000);
        let mut transfer = FileToSocket::new(file.clone(), 0..200_000, settings);
        loop {
            match transfer.step(near.as_fd()).unwrap() {
                Progress::Moved(_) => {}
                Progress::NeedsZerocopyCompletion => wait(&near, PollFlags::empty()),
                end => {
                    assert_eq!(end, Progress::Done);
                    break;
                }
            }
        }
        let told = transfer.report().zerocopy;
        assert_eq!((told.released, transfer.report().bytes), (told.sends, 200_000), "{told:?}");
        assert!(told.sends >= 6, "{told:?}");
    }
    drop(near);
    assert!(drainer.join().unwrap().unwrap() == content.repeat(3));
}

#[test]
fn no_room_for_notifications_is_survived() {
    let case = Case::new(Direction::FileToSocket, Via::Zerocopy, Transport::Tcp, true);
    for place in ["1", "2", "3+2", "1+1"] {
        let inject = format!("inject=sendto:error=ENOBUFS:when={place}");
        let filter = "trace=?access,?faccessat,sendto,recvmsg";
        let cache = karez_transfer::CachePolicy::Keep;
        let Some(all) = trace(&[case], cache, &["-e", filter, "-e", &inject]) else {
            return;
        };
        let traced = &all[0];
        assert!(traced.injected().is_some(), "{traced:#?}");
        if place == "1+1" {
            // Not even a copy has room.
            assert!(!traced.errors.is_empty(), "{traced:#?}");
            continue;
        }
        assert!(traced.exact && traced.errors.is_empty(), "{traced:#?}");
        assert_eq!((traced.effective, traced.fallbacks.len()), (Via::Zerocopy, 0), "{traced:#?}");
    }
}
