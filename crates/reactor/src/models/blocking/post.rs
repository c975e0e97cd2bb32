//! What reaches a thread that waits for its socket: mail, where its task has a mailbox.
//!
//! What it does badly: the thread waits in poll(2) for both, so each receive costs one call more,
//! and each such connection one descriptor more.

use rustix::event::{PollFd, PollFlags};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use super::wait;
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
            let mut fds =
                [PollFd::new(self.room.waker(), PollFlags::IN), PollFd::new(socket, PollFlags::IN)];
            wait::until_ready(&mut fds, until)?;
            if fds[0].revents().is_empty() {
                return Ok(None);
            }
            self.room.waker().rearm();
            self.unheard.extend(self.room.take().into_iter().map(|(_, parcel)| parcel));
        }
    }
}
