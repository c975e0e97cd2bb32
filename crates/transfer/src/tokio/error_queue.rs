//! A poller of our own for a socket whose error queue has had news: epoll(7) within epoll.
//!
//! Linux 2.6. An entry in the error queue is `EPOLLERR`, which tokio takes for the end of the
//! sending side and never clears (tokio issue 5550): from then on every wait for room ends at
//! once, and whoever waits like that spins. The descriptor of an epoll instance that watches the
//! socket is readable when something changed, and nothing else.
//!
//! What it does badly: two descriptors and four system calls more, and one more for each wait. So
//! it is made only for a socket that is full and said to be closed.

use ::tokio::io::Interest;
use ::tokio::io::unix::AsyncFd;
use ::tokio::runtime::Handle;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

#[derive(Debug)]
pub(super) struct Poller {
    epoll: AsyncFd<OwnedFd>,
}

impl Poller {
    pub(super) fn of(socket: BorrowedFd<'_>) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let edges = EventFlags::OUT | EventFlags::ET;
        epoll::add(&epoll, socket, EventData::new_u64(0), edges)?;
        // Without a runtime the registration would panic.
        Handle::try_current().map_err(io::Error::other)?;
        #[allow(
            deprecated,
            reason = "since 1.53.3, for types whose descriptor may change; `OwnedFd` is none"
        )]
        let epoll = AsyncFd::with_interest(epoll, Interest::READABLE)?;
        Ok(Self { epoll })
    }

    /// Waits until the socket has room, or its error queue news. The first time it may have had
    /// them before.
    pub(super) async fn changed(&self) -> io::Result<()> {
        let mut guard = self.epoll.readable().await?;
        let mut event = Vec::with_capacity(1);
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let spare = rustix::buffer::spare_capacity(&mut event);
        epoll::wait(self.epoll.get_ref(), spare, Some(&now))?;
        // What came after the guard has made it stale: then this clears nothing.
        guard.clear_ready();
        Ok(())
    }
}
