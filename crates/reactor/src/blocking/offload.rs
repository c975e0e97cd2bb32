//! Calls that may hang, made by another thread while the connection's own waits in poll(2) for the
//! result, the deadline, or a hang-up of the peer: a thread inside a system call can do none of that.
//!
//! # Limitations
//!
//! Each such call costs two switches of threads, and the connection an eventfd from the first on. A
//! local file is still read by the connection's own thread, inside sendfile(2) or read(2), so a local
//! disk that hangs holds the thread and its connection until it answers.

use rustix::io::Errno;
use std::sync::Arc;
use std::time::Instant;

use crate::selector::Token;
use crate::sync::inbox::{Inbox, Notification};
use crate::sync::offload::{Offload, OffloadId, PoolTask, Tickets};
use crate::sync::pool::Pool;
use crate::sync::waker::Waker;
use crate::task::Job;

/// The work of one connection that other threads do.
pub(super) struct Offloader<'a, J: Job> {
    pool: &'a Pool<PoolTask<J>>,
    inbox: Option<Arc<Inbox<J::Done>>>,
    tickets: Tickets,
}

impl<'a, J: Job> Offloader<'a, J> {
    pub(super) fn new(pool: &'a Pool<PoolTask<J>>) -> Self {
        Self { pool, inbox: None, tickets: Tickets::default() }
    }

    /// Hands work to the pool, that is overdue at `until`.
    ///
    /// # Errors
    /// The work itself: the pool does not take it.
    pub(super) fn submit(&mut self, offload: Offload<J>, until: Instant) -> Result<(), Offload<J>> {
        let Ok(inbox) = self.inbox() else { return Err(offload) };
        let (id, device, admit) = (offload.id(), offload.device(), offload.admit());
        let task = PoolTask { offload, token: Token(0), inbox };
        let ticket = self.pool.submit(device, until, admit, task).map_err(|task| task.offload)?;
        self.tickets.push(id, ticket);
        Ok(())
    }

    fn inbox(&mut self) -> rustix::io::Result<Arc<Inbox<J::Done>>> {
        if self.inbox.is_none() {
            self.inbox = Some(Arc::new(Inbox::new(Arc::new(Waker::eventfd()?))));
        }
        self.inbox.clone().ok_or(Errno::MFILE)
    }

    /// Returns whether there is work whose result has not come.
    pub(super) fn is_pending(&self) -> bool {
        !self.tickets.is_empty()
    }

    /// Returns the waker that poll(2) has to wait for while there is work.
    pub(super) fn waker(&self) -> Option<&Waker> {
        self.inbox.as_ref().filter(|_| self.is_pending()).map(|inbox| inbox.waker())
    }

    /// Takes the results that have come.
    pub(super) fn drain(&mut self) -> Vec<Notification<J::Done>> {
        let mut notifications = Vec::new();
        if let Some(inbox) = &self.inbox {
            inbox.waker().drain();
            inbox.drain(&mut notifications);
        }
        for notification in &notifications {
            match notification {
                Notification::JobDone(_, id, _) => self.tickets.remove(OffloadId::Job(*id)),
                Notification::PageInDone(_, tag) => self.tickets.remove(OffloadId::PageIn(*tag)),
                Notification::Accepted(..) => {}
            }
        }
        notifications
    }

    /// Drops page-ins that have not begun: the outbox has been emptied.
    pub(super) fn abandon_page_ins(&mut self) {
        self.tickets.discard_page_ins();
        self.tickets.drain_unwanted().for_each(|ticket| self.pool.abandon(ticket));
    }
}

impl<J: Job> Drop for Offloader<'_, J> {
    fn drop(&mut self) {
        self.tickets.drain().for_each(|ticket| self.pool.abandon(ticket));
    }
}
