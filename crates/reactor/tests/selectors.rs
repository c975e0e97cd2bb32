//! One suite for every readiness model alone: registrations, their changes and removals, and the reports
//! of them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[cfg(feature = "aio")]
use karez_reactor::LinuxAio;
use karez_reactor::{
    EpollEdge, EpollLevel, Interest, Model, Nonblocking, Poll, Ready, Select, Selector, Signal,
    Token,
};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::any::type_name;
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

const A: Token = Token(1);
const B: Token = Token(1 << 40);

/// Returns whether it reports only true readiness.
fn is_honest<D: Selector>() -> bool {
    !type_name::<D>().ends_with("::Nonblocking")
}

fn pair() -> (UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (ours, theirs)
}

/// Returns all reports of this moment.
fn now<D: Selector>(selector: &mut D) -> Vec<Ready> {
    let mut all = Vec::new();
    // A model that returns one report at a time is asked until there is none. On levels the same
    // would come again, so once is enough there.
    loop {
        let before = all.len();
        selector.wait(Some(Duration::ZERO), &mut all).unwrap();
        if !D::EDGE || all.len() == before {
            return all;
        }
    }
}

/// Waits until `token` is reported readable.
fn until_readable<D: Selector>(selector: &mut D, token: Token) {
    let mut ready = Vec::new();
    while !ready.iter().any(|report: &Ready| report.token == token && report.readable) {
        selector.wait(None, &mut ready).unwrap();
    }
}

fn readable(reports: &[Ready], token: Token) -> bool {
    reports.iter().any(|report| report.token == token && report.readable)
}

fn writable(reports: &[Ready], token: Token) -> bool {
    reports.iter().any(|report| report.token == token && report.writable)
}

fn arriving_bytes_are_reported<D: Selector>() {
    let mut selector = D::new().unwrap();
    let ((a, mut to_a), (b, mut to_b)) = (pair(), pair());
    to_b.write_all(b"before").unwrap();
    selector.register(a.as_fd(), A, Interest::READ).unwrap();
    selector.register(b.as_fd(), B, Interest::READ).unwrap();
    until_readable(&mut selector, B);
    to_a.write_all(b"after").unwrap();
    until_readable(&mut selector, A);
    drop((to_a, to_b));
    until_readable(&mut selector, A); // the end is something to be read
}

fn levels_repeat_and_edges_do_not<D: Selector>() {
    let mut selector = D::new().unwrap();
    let (mut a, mut to_a) = pair();
    selector.register(a.as_fd(), A, Interest::READ).unwrap();
    now(&mut selector); // an edge model tells that it can be written
    to_a.write_all(b"x").unwrap();
    assert!(readable(&now(&mut selector), A));
    assert_eq!(readable(&now(&mut selector), A), !D::EDGE, "nothing was read");
    to_a.write_all(b"y").unwrap();
    assert!(readable(&now(&mut selector), A), "new data is a new edge, read or not");
    a.read_exact(&mut [0; 2]).unwrap();
    assert_eq!(readable(&now(&mut selector), A), !is_honest::<D>(), "all was read");
}

fn room_in_a_full_socket_is_reported<D: Selector>() {
    let mut selector = D::new().unwrap();
    let (mut a, mut to_a) = pair();
    selector.register(a.as_fd(), A, Interest::WRITE).unwrap();
    assert!(writable(&now(&mut selector), A));
    let mut written = 0;
    while let Ok(count) = a.write(&[0; 4096]) {
        written += count;
    }
    now(&mut selector);
    assert_eq!(writable(&now(&mut selector), A), !is_honest::<D>());
    to_a.read_exact(&mut vec![0; written]).unwrap();
    let mut ready = Vec::new();
    while !writable(&ready, A) {
        selector.wait(None, &mut ready).unwrap();
    }
}

fn interest_is_followed_on_levels<D: Selector>() {
    let mut selector = D::new().unwrap();
    let (a, mut to_a) = pair();
    to_a.write_all(b"x").unwrap();
    for (interest, wanted) in [
        (Interest::READ, (true, false)),
        (Interest::WRITE, (false, true)),
        (Interest::BOTH, (true, true)),
        (Interest::NONE, (false, false)),
        (Interest::READ, (true, false)),
    ] {
        let reported = if selector.modify(a.as_fd(), A, interest).is_err() {
            selector.register(a.as_fd(), A, interest).unwrap();
            now(&mut selector)
        } else {
            now(&mut selector)
        };
        let reported = (readable(&reported, A), writable(&reported, A));
        // Edges report both directions, with any interest.
        assert!(
            reported == wanted || D::EDGE && reported == (true, true),
            "{interest:?}: {reported:?}"
        );
    }
    // Without interest no hang-up is reported, or every wait would report it.
    selector.modify(a.as_fd(), A, Interest::NONE).unwrap();
    drop(to_a);
    now(&mut selector);
    assert!(now(&mut selector).is_empty());
}

fn a_modified_token_is_reported<D: Selector>() {
    let mut selector = D::new().unwrap();
    let (a, mut to_a) = pair();
    selector.register(a.as_fd(), A, Interest::READ).unwrap();
    selector.modify(a.as_fd(), B, Interest::READ).unwrap();
    to_a.write_all(b"x").unwrap();
    until_readable(&mut selector, B);
    assert!(!readable(&now(&mut selector), A));
}

fn a_deregistered_descriptor_is_not_reported<D: Selector>() {
    let mut selector = D::new().unwrap();
    let ((a, mut to_a), (b, mut to_b)) = (pair(), pair());
    assert_eq!(selector.deregister(a.as_fd()), Err(Errno::NOENT));
    selector.register(a.as_fd(), A, Interest::READ).unwrap();
    selector.register(b.as_fd(), B, Interest::READ).unwrap();
    to_a.write_all(b"x").unwrap();
    to_b.write_all(b"x").unwrap();
    // In the middle of the reports of a wait: it may be in these, and not in the next.
    until_readable(&mut selector, B);
    selector.deregister(a.as_fd()).unwrap();
    to_a.write_all(b"y").unwrap();
    assert!(!now(&mut selector).iter().any(|report| report.token == A));
    let (c, mut to_c) = pair();
    to_c.write_all(b"x").unwrap();
    selector.register(c.as_fd(), A, Interest::READ).unwrap();
    until_readable(&mut selector, A);
    selector.deregister(b.as_fd()).unwrap();
    selector.register(b.as_fd(), B, Interest::READ).unwrap();
    until_readable(&mut selector, B);
}

fn a_reused_number_is_another_descriptor<D: Selector>() {
    let mut selector = D::new().unwrap();
    for _ in 0..100 {
        let (first, mut to_first) = pair();
        let number = first.as_raw_fd();
        selector.register(first.as_fd(), A, Interest::READ).unwrap();
        now(&mut selector);
        to_first.write_all(b"x").unwrap(); // reported too late
        if !D::CLOSE_DEREGISTERS {
            selector.deregister(first.as_fd()).unwrap();
        }
        drop(first);
        // Other tests take numbers, too; mostly it is the same.
        let (second, mut to_second) = pair();
        selector.register(second.as_fd(), B, Interest::READ).unwrap();
        to_second.write_all(b"x").unwrap();
        until_readable(&mut selector, B);
        if second.as_raw_fd() == number {
            assert!(!readable(&now(&mut selector), A));
        }
        selector.deregister(second.as_fd()).unwrap();
    }
}

fn every_ready_descriptor_of_many_is_reported<D: Selector>() {
    raise_descriptor_limit();
    let mut selector = D::new().unwrap();
    let mut crowd: Vec<_> = (0..600).map(|_| pair()).collect();
    for ((ours, _), number) in crowd.iter().zip(0..) {
        selector.register(ours.as_fd(), Token(number), Interest::READ).unwrap();
    }
    now(&mut selector);
    for (_, theirs) in &mut crowd {
        theirs.write_all(b"x").unwrap();
    }
    let (mut told, mut ready) = (vec![false; crowd.len()], Vec::new());
    while told.contains(&false) {
        selector.wait(None, &mut ready).unwrap();
        for report in ready.drain(..) {
            let number = usize::try_from(report.token.0).unwrap();
            let (ours, _) = &mut crowd[number];
            if report.readable && matches!(ours.read(&mut [0; 8]), Ok(1)) {
                assert!(!std::mem::replace(&mut told[number], true), "{number} once more");
            }
        }
    }
}

fn numbers_beyond_1024_are_reported<D: Selector>() {
    raise_descriptor_limit();
    let (a, mut to_a) = pair();
    let Ok(high) = fcntl_dupfd_cloexec(&a, 3000) else { return }; // the limit is too low for it
    let mut selector = D::new().unwrap();
    selector.register(high.as_fd(), A, Interest::READ).unwrap();
    to_a.write_all(b"x").unwrap();
    until_readable(&mut selector, A);
    selector.deregister(high.as_fd()).unwrap();
}

fn an_eventfd_is_watched_as_the_constant_says<D: Selector>() {
    let mut selector = D::new().unwrap();
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
    let registered = selector.register(event.as_fd(), A, Interest::READ);
    assert_eq!(registered, if D::WATCHES_EVENTFD { Ok(()) } else { Err(Errno::PERM) });
    if D::WATCHES_EVENTFD {
        rustix::io::write(&event, &1_u64.to_ne_bytes()).unwrap();
        until_readable(&mut selector, A);
    }
}

/// A file is always ready where it can be watched at all.
fn a_regular_file<D: Selector>(refused: bool) {
    let mut selector = D::new().unwrap();
    let file = tempfile::tempfile().unwrap();
    let registered = selector.register(file.as_fd(), A, Interest::READ);
    assert_eq!(registered, if refused { Err(Errno::PERM) } else { Ok(()) });
    assert_eq!(readable(&now(&mut selector), A), !refused);
    // A refusal leaves nothing behind.
    let (a, mut to_a) = pair();
    to_a.write_all(b"x").unwrap();
    selector.register(a.as_fd(), B, Interest::READ).unwrap();
    until_readable(&mut selector, B);
}

fn raise_descriptor_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

macro_rules! suite {
    ($($(#[$cfg:meta])? $module:ident: $model:ty, file refused: $refused:literal;)*) => {
        /// Every readiness model of the list has this suite.
        #[test]
        fn the_suite_is_complete() {
            let tested = [$($(#[$cfg])? stringify!($module),)*].map(|name| name.replace('_', "-"));
            let listed = Model::ALL.iter().filter(|model| model.is_readiness());
            let listed: BTreeSet<_> = listed.map(|model| model.name().to_owned()).collect();
            assert_eq!(BTreeSet::from(tested), listed);
        }

        $($(#[$cfg])?
        mod $module {
            use super::*;

            suite!(@ $model:
                arriving_bytes_are_reported
                levels_repeat_and_edges_do_not
                room_in_a_full_socket_is_reported
                interest_is_followed_on_levels
                a_modified_token_is_reported
                a_deregistered_descriptor_is_not_reported
                a_reused_number_is_another_descriptor
                every_ready_descriptor_of_many_is_reported
                numbers_beyond_1024_are_reported
                an_eventfd_is_watched_as_the_constant_says
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
    #[cfg(feature = "aio")]
    linux_aio: LinuxAio, file refused: false;
}
