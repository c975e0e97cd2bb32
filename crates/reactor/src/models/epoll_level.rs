//! epoll(7), level-triggered: its default, with the semantics of poll(2).
//!
//! Since Linux 2.6.
//!
//! # Limitations
//!
//! Readiness that is not wanted is reported by every wait, so the interest has to follow the task, and
//! every change is a call: a connection that sends, waits for room and receives again costs two
//! `epoll_ctl`s more than on edges. (The event loop collects changes and makes at most one a connection
//! and turn; one that is undone within the turn is never made.)
//! A hang-up cannot be left out, a descriptor that was duplicated stays registered after `close`,
//! and regular files are refused with `EPERM`. While the memory of TCP is used up (`tcp_mem`, tcp(7)) a socket that
//! takes nothing is reported as writable by every wait, so its event loop does not sleep until another socket gives
//! some back or the send times out. The same holds for poll, select and Linux AIO; edges report once.

use rustix::event::epoll::{self, EventFlags};
use rustix::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::epoll::Epoll;
use crate::selector::{Interest, Ready, Selector, Token};

/// Level-triggered epoll.
#[derive(Debug)]
pub struct EpollLevel(Epoll);

impl Selector for EpollLevel {
    const EDGE: bool = false;
    const CLOSE_DEREGISTERS: bool = true;
    const WATCHES_EVENTFD: bool = true;

    fn new() -> io::Result<Self> {
        Epoll::new().map(Self)
    }

    fn register(&mut self, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token.0);
        epoll::add(&self.0.epoll, fd, data, flags(interest))
    }

    fn modify(&mut self, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token.0);
        epoll::modify(&self.0.epoll, fd, data, flags(interest))
    }

    fn deregister(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        epoll::delete(&self.0.epoll, fd)
    }

    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        self.0.wait(timeout, ready)
    }
}

impl AsFd for EpollLevel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.epoll.as_fd()
    }
}

fn flags(interest: Interest) -> EventFlags {
    let mut flags = EventFlags::empty();
    flags.set(EventFlags::IN, interest.readable);
    flags.set(EventFlags::OUT, interest.writable);
    // EPOLLHUP and EPOLLERR are always reported. As an edge that is once, and not in every turn
    // of a connection that waits for something else.
    flags.set(EventFlags::ET, !interest.readable && !interest.writable);
    flags
}
