//! One suite for every readiness model alone: what is registered, changed and taken out, and what
//! is told of it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use karez_reactor::{
    Demultiplexer, EpollEdge, EpollLevel, Interest, LinuxAio, Nonblocking, Poll, Ready, Select,
    Signal, Token,
};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::any::type_name;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

const A: Token = Token(1);
const B: Token = Token(1 << 40);

/// Whether it tells only what is there.
fn is_honest<D: Demultiplexer>() -> bool {
    !type_name::<D>().ends_with("::Nonblocking")
}

fn pair() -> (UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (ours, theirs)
}

/// What is told now.
fn now<D: Demultiplexer>(demultiplexer: &mut D) -> Vec<Ready> {
    let mut all = Vec::new();
    // A model that tells one thing at a time is asked until it has told all. On levels the same
    // would come again, so once is enough there.
    loop {
        let before = all.len();
        demultiplexer.wait(Some(Duration::ZERO), &mut all).unwrap();
        if !D::EDGE || all.len() == before {
            return all;
        }
    }
}

/// Waits until `token` is told to be readable.
fn until_readable<D: Demultiplexer>(demultiplexer: &mut D, token: Token) {
    let mut ready = Vec::new();
    while !ready.iter().any(|report: &Ready| report.token == token && report.readable) {
        demultiplexer.wait(None, &mut ready).unwrap();
    }
}

fn readable(reports: &[Ready], token: Token) -> bool {
    reports.iter().any(|report| report.token == token && report.readable)
}

fn writable(reports: &[Ready], token: Token) -> bool {
    reports.iter().any(|report| report.token == token && report.writable)
}

fn what_comes_is_told<D: Demultiplexer>() {
    let mut demultiplexer = D::new().unwrap();
    let ((a, mut to_a), (b, mut to_b)) = (pair(), pair());
    to_b.write_all(b"before").unwrap();
    demultiplexer.register(a.as_fd(), A, Interest::READ).unwrap();
    demultiplexer.register(b.as_fd(), B, Interest::READ).unwrap();
    until_readable(&mut demultiplexer, B);
    to_a.write_all(b"after").unwrap();
    until_readable(&mut demultiplexer, A);
    drop((to_a, to_b));
    until_readable(&mut demultiplexer, A); // the end is something to be read
}

fn levels_repeat_and_edges_do_not<D: Demultiplexer>() {
    let mut demultiplexer = D::new().unwrap();
    let (mut a, mut to_a) = pair();
    demultiplexer.register(a.as_fd(), A, Interest::READ).unwrap();
    now(&mut demultiplexer); // an edge model tells that it can be written
    to_a.write_all(b"x").unwrap();
    assert!(readable(&now(&mut demultiplexer), A));
    assert_eq!(readable(&now(&mut demultiplexer), A), !D::EDGE, "nothing was read");
    to_a.write_all(b"y").unwrap();
    assert!(readable(&now(&mut demultiplexer), A), "new data is a new edge, read or not");
    a.read_exact(&mut [0; 2]).unwrap();
    assert_eq!(readable(&now(&mut demultiplexer), A), !is_honest::<D>(), "all was read");
}

fn room_after_a_full_socket_is_told<D: Demultiplexer>() {
    let mut demultiplexer = D::new().unwrap();
    let (mut a, mut to_a) = pair();
    demultiplexer.register(a.as_fd(), A, Interest::WRITE).unwrap();
    assert!(writable(&now(&mut demultiplexer), A));
    let mut written = 0;
    while let Ok(count) = a.write(&[0; 4096]) {
        written += count;
    }
    now(&mut demultiplexer);
    assert_eq!(writable(&now(&mut demultiplexer), A), !is_honest::<D>());
    to_a.read_exact(&mut vec![0; written]).unwrap();
    let mut ready = Vec::new();
    while !writable(&ready, A) {
        demultiplexer.wait(None, &mut ready).unwrap();
    }
}

fn interest_is_followed_on_levels<D: Demultiplexer>() {
    let mut demultiplexer = D::new().unwrap();
    let (a, mut to_a) = pair();
    to_a.write_all(b"x").unwrap();
    for (interest, wanted) in [
        (Interest::READ, (true, false)),
        (Interest::WRITE, (false, true)),
        (Interest::BOTH, (true, true)),
        (Interest::NONE, (false, false)),
        (Interest::READ, (true, false)),
    ] {
        let told = if demultiplexer.modify(a.as_fd(), A, interest).is_err() {
            demultiplexer.register(a.as_fd(), A, interest).unwrap();
            now(&mut demultiplexer)
        } else {
            now(&mut demultiplexer)
        };
        let told = (readable(&told, A), writable(&told, A));
        // Edges tell both, and whoever has no interest in one overlooks it.
        assert!(told == wanted || D::EDGE && told == (true, true), "{interest:?}: {told:?}");
    }
    // A hang-up is nothing to one who is interested in nothing, or it would come in every turn.
    demultiplexer.modify(a.as_fd(), A, Interest::NONE).unwrap();
    drop(to_a);
    now(&mut demultiplexer);
    assert!(now(&mut demultiplexer).is_empty());
}

fn a_modified_token_is_the_one_that_is_told<D: Demultiplexer>() {
    let mut demultiplexer = D::new().unwrap();
    let (a, mut to_a) = pair();
    demultiplexer.register(a.as_fd(), A, Interest::READ).unwrap();
    demultiplexer.modify(a.as_fd(), B, Interest::READ).unwrap();
    to_a.write_all(b"x").unwrap();
    until_readable(&mut demultiplexer, B);
    assert!(!readable(&now(&mut demultiplexer), A));
}

fn what_is_taken_out_is_not_told<D: Demultiplexer>() {
    let mut demultiplexer = D::new().unwrap();
    let ((a, mut to_a), (b, mut to_b)) = (pair(), pair());
    assert_eq!(demultiplexer.deregister(a.as_fd()), Err(Errno::NOENT));
    demultiplexer.register(a.as_fd(), A, Interest::READ).unwrap();
    demultiplexer.register(b.as_fd(), B, Interest::READ).unwrap();
    to_a.write_all(b"x").unwrap();
    to_b.write_all(b"x").unwrap();
    // In the middle of what a wait has told: it may be in it still, and not in the next.
    until_readable(&mut demultiplexer, B);
    demultiplexer.deregister(a.as_fd()).unwrap();
    to_a.write_all(b"y").unwrap();
    assert!(!now(&mut demultiplexer).iter().any(|report| report.token == A));
    let (c, mut to_c) = pair();
    to_c.write_all(b"x").unwrap();
    demultiplexer.register(c.as_fd(), A, Interest::READ).unwrap();
    until_readable(&mut demultiplexer, A);
    demultiplexer.deregister(b.as_fd()).unwrap();
    demultiplexer.register(b.as_fd(), B, Interest::READ).unwrap();
    until_readable(&mut demultiplexer, B);
}

fn a_number_used_again_is_another<D: Demultiplexer>() {
    let mut demultiplexer = D::new().unwrap();
    for _ in 0..100 {
        let (first, mut to_first) = pair();
        let number = first.as_raw_fd();
        demultiplexer.register(first.as_fd(), A, Interest::READ).unwrap();
        now(&mut demultiplexer);
        to_first.write_all(b"x").unwrap(); // told too late
        if !D::FORGETS_CLOSED {
            demultiplexer.deregister(first.as_fd()).unwrap();
        }
        drop(first);
        // Other tests take numbers, too; mostly it is the same.
        let (second, mut to_second) = pair();
        demultiplexer.register(second.as_fd(), B, Interest::READ).unwrap();
        to_second.write_all(b"x").unwrap();
        until_readable(&mut demultiplexer, B);
        if second.as_raw_fd() == number {
            assert!(!readable(&now(&mut demultiplexer), A));
        }
        demultiplexer.deregister(second.as_fd()).unwrap();
    }
}

fn of_a_crowd_each_is_told<D: Demultiplexer>() {
    raise_descriptor_limit();
    let mut demultiplexer = D::new().unwrap();
    let mut crowd: Vec<_> = (0..600).map(|_| pair()).collect();
    for ((ours, _), number) in crowd.iter().zip(0..) {
        demultiplexer.register(ours.as_fd(), Token(number), Interest::READ).unwrap();
    }
    now(&mut demultiplexer);
    for (_, theirs) in &mut crowd {
        theirs.write_all(b"x").unwrap();
    }
    let (mut told, mut ready) = (vec![false; crowd.len()], Vec::new());
    while told.contains(&false) {
        demultiplexer.wait(None, &mut ready).unwrap();
        for report in ready.drain(..) {
            let number = usize::try_from(report.token.0).unwrap();
            let (ours, _) = &mut crowd[number];
            if report.readable && matches!(ours.read(&mut [0; 8]), Ok(1)) {
                assert!(!std::mem::replace(&mut told[number], true), "{number} once more");
            }
        }
    }
}

fn numbers_beyond_1024_are_nothing_special<D: Demultiplexer>() {
    raise_descriptor_limit();
    let (a, mut to_a) = pair();
    let Ok(high) = fcntl_dupfd_cloexec(&a, 3000) else { return }; // the limit is too low for it
    let mut demultiplexer = D::new().unwrap();
    demultiplexer.register(high.as_fd(), A, Interest::READ).unwrap();
    to_a.write_all(b"x").unwrap();
    until_readable(&mut demultiplexer, A);
    demultiplexer.deregister(high.as_fd()).unwrap();
}

fn an_eventfd_is_watched_where_that_is_promised<D: Demultiplexer>() {
    let mut demultiplexer = D::new().unwrap();
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
    let registered = demultiplexer.register(event.as_fd(), A, Interest::READ);
    assert_eq!(registered, if D::WATCHES_EVENTFD { Ok(()) } else { Err(Errno::PERM) });
    if D::WATCHES_EVENTFD {
        rustix::io::write(&event, &1_u64.to_ne_bytes()).unwrap();
        until_readable(&mut demultiplexer, A);
    }
}

/// A file is always ready to those who can watch it at all, which is of no use to anybody.
fn a_regular_file<D: Demultiplexer>(refused: bool) {
    let mut demultiplexer = D::new().unwrap();
    let file = tempfile::tempfile().unwrap();
    let registered = demultiplexer.register(file.as_fd(), A, Interest::READ);
    assert_eq!(registered, if refused { Err(Errno::PERM) } else { Ok(()) });
    assert_eq!(readable(&now(&mut demultiplexer), A), !refused);
    // A refusal leaves nothing behind.
    let (a, mut to_a) = pair();
    to_a.write_all(b"x").unwrap();
    demultiplexer.register(a.as_fd(), B, Interest::READ).unwrap();
    until_readable(&mut demultiplexer, B);
}

fn raise_descriptor_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

macro_rules! suite {
    ($($module:ident: $model:ty, file refused: $refused:literal;)*) => {$(
        mod $module {
            use super::*;

            suite!(@ $model:
                what_comes_is_told
                levels_repeat_and_edges_do_not
                room_after_a_full_socket_is_told
                interest_is_followed_on_levels
                a_modified_token_is_the_one_that_is_told
                what_is_taken_out_is_not_told
                a_number_used_again_is_another
                of_a_crowd_each_is_told
                numbers_beyond_1024_are_nothing_special
                an_eventfd_is_watched_where_that_is_promised
            );

            #[test]
            fn a_regular_file() {
                super::a_regular_file::<$model>($refused);
            }
        }
    )*};
    (@ $model:ty: $($test:ident)*) => {$(
        #[test]
        fn $test() {
            super::$test::<$model>();
        }
    )*};
}

suite! {
    nonblocking: Nonblocking, file refused: false;
    select: Select, file refused: false;
    poll: Poll, file refused: false;
    epoll_level: EpollLevel, file refused: true;
    epoll_edge: EpollEdge, file refused: true;
    signal: Signal, file refused: true;
    linux_aio: LinuxAio, file refused: false;
}
