//! epoll(7), edge-triggered (`EPOLLET`): one call registers a connection for its whole life.
//!
//! Since Linux 2.6; `EPOLLRDHUP` since 2.6.17.
//!
//! # Limitations
//!
//! An edge is reported once, so a caller that does not read until `EAGAIN` or a short count waits for
//! ever; a descriptor that was duplicated stays registered after `close`; events
//! already fetched may name connections closed a moment ago (hence the generation in a token);
//! and regular files are refused with `EPERM`.

use rustix::event::epoll::{self, EventFlags};
use rustix::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::epoll::Epoll;
use crate::selector::{Interest, Ready, Selector, Token};

/// Both directions and the peer's end, each once.
const EVERYTHING: EventFlags =
    EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP).union(EventFlags::ET);

/// Edge-triggered epoll.
#[derive(Debug)]
pub struct EpollEdge(Epoll);

impl Selector for EpollEdge {
    const EDGE: bool = true;
    const CLOSE_DEREGISTERS: bool = true;
    const WATCHES_EVENTFD: bool = true;

    fn new() -> io::Result<Self> {
        Epoll::new().map(Self)
    }

    fn register(&mut self, fd: BorrowedFd<'_>, token: Token, _: Interest) -> io::Result<()> {
        epoll::add(&self.0.epoll, fd, epoll::EventData::new_u64(token.0), EVERYTHING)
    }

    fn modify(&mut self, fd: BorrowedFd<'_>, token: Token, _: Interest) -> io::Result<()> {
        epoll::modify(&self.0.epoll, fd, epoll::EventData::new_u64(token.0), EVERYTHING)
    }

    fn deregister(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        epoll::delete(&self.0.epoll, fd)
    }

    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        self.0.wait(timeout, ready)
    }
}
