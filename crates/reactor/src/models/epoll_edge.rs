//! epoll(7), edge-triggered (`EPOLLET`): one call registers a connection for its whole life.
//!
//! Since Linux 2.6; `EPOLLRDHUP` since 2.6.17.
//!
//! What it does badly: an edge is told once, so whoever forgets to read until `EAGAIN` or a short
//! count waits for ever; a descriptor that was duplicated stays registered after `close`; events
//! already fetched may name connections closed a moment ago (hence the generation in a token);
//! and regular files are refused with `EPERM`.

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::{self, Errno};
use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use crate::demultiplexer::{Demultiplexer, Ready, Token};

/// Reports fetched by one call. More would only make the first connections wait for the last.
const BATCH: usize = 256;

/// Edge-triggered epoll.
pub struct EpollEdge {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Demultiplexer for EpollEdge {
    const EDGE: bool = true;
    const FORGETS_CLOSED: bool = true;

    fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, events: Vec::with_capacity(BATCH) })
    }

    fn register(&mut self, fd: BorrowedFd<'_>, token: Token) -> io::Result<()> {
        let interest = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(token.0), interest)
    }

    fn deregister(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        epoll::delete(&self.epoll, fd)
    }

    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        let timeout = timeout.map(whole_milliseconds);
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) => ready.extend(self.events.iter().map(report)),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        Ok(())
    }
}

impl fmt::Debug for EpollEdge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EpollEdge").field("epoll", &self.epoll).finish_non_exhaustive()
    }
}

fn report(event: &epoll::Event) -> Ready {
    let flags = event.flags;
    let broken = flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP);
    Ready {
        token: Token(event.data.u64()),
        readable: broken || flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::RDHUP),
        writable: broken || flags.contains(epoll::EventFlags::OUT),
        hang_up: broken || flags.contains(epoll::EventFlags::RDHUP),
    }
}

/// epoll_pwait(2) counts in milliseconds: rounded up, for waking early would only mean waiting
/// again.
fn whole_milliseconds(timeout: Duration) -> Timespec {
    let millis = timeout.as_nanos().div_ceil(1_000_000).min(86_400_000);
    let rounded = Duration::from_millis(u64::try_from(millis).unwrap_or(86_400_000));
    Timespec::try_from(rounded).unwrap_or(Timespec { tv_sec: 86_400, tv_nsec: 0 })
}
