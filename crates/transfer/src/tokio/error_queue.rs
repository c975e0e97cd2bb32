//! A second poller for a socket whose error queue has had entries: epoll(7) within epoll.
//!
//! Linux 2.6. An entry in the error queue is `EPOLLERR`, which tokio interprets as the end of the
//! sending side and never clears (tokio issue 5550): from then on every wait for writability returns at
//! once, and its task spins. The descriptor of an epoll instance that watches the
//! socket is readable only after a change.
//!
//! # Limitations
//!
//! Two more descriptors and four more system calls, and one more for each wait. So
//! it is made only for a socket that is full and that tokio reports as closed.

use ::tokio::io::Interest;
use ::tokio::io::unix::AsyncFd;
use ::tokio::runtime::Handle;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use std::future::poll_fn;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};

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
            reason = "since 1.53.3, for types whose descriptor may change; that of an `OwnedFd` does not"
        )]
        let epoll = AsyncFd::with_interest(epoll, Interest::READABLE)?;
        Ok(Self { epoll })
    }

    /// Waits until the socket has room, or its error queue a new entry. The first call may return for an
    /// earlier change.
    pub(super) async fn changed(&self) -> io::Result<()> {
        poll_fn(|context| self.poll_changed(context)).await
    }

    /// Polls for the same, and wakes the task of the last call.
    pub(super) fn poll_changed(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut guard = ready!(self.epoll.poll_read_ready(context))?;
        let mut event = Vec::with_capacity(1);
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let spare = rustix::buffer::spare_capacity(&mut event);
        epoll::wait(self.epoll.get_ref(), spare, Some(&now))?;
        // A change after the guard has made it stale, so that this clears nothing.
        guard.clear_ready();
        Poll::Ready(Ok(()))
    }
}
