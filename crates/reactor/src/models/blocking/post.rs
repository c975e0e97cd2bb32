//! What reaches a thread that waits for its socket: mail, where its task has a mailbox.
//!
//! What it does badly: the thread waits in poll(2) for both, so each receive costs one call more,
//! and each such connection one descriptor more.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use crate::mailroom::{Mailroom, Unheard};

/// The mail of the one task of this thread.
pub(super) struct Post<M> {
    room: Arc<Mailroom<M>>,
    unheard: Unheard<M>,
}

impl<M> Post<M> {
    pub(super) fn new(room: Arc<Mailroom<M>>) -> Self {
        Self { room, unheard: Unheard::new() }
    }

    /// Waits for mail until then; `None` if the socket is readable before, or the time is up.
    pub(super) fn wait(
        &mut self,
        socket: &OwnedFd,
        until: Instant,
    ) -> rustix::io::Result<Option<M>> {
        loop {
            if let Some(parcel) = self.unheard.pop_front() {
                return Ok(Some(parcel.open()));
            }
            let left = until.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).ok();
            let mut fds =
                [PollFd::new(self.room.waker(), PollFlags::IN), PollFd::new(socket, PollFlags::IN)];
            match poll(&mut fds, timeout.as_ref()) {
                Ok(_) if !fds[0].revents().is_empty() => {
                    self.room.waker().rearm();
                    self.unheard.extend(self.room.take().into_iter().map(|(_, parcel)| parcel));
                }
                Ok(_) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}
