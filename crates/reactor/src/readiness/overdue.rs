//! Deadlines that have passed: everything that arrived before is handled first.
//!
//! A wait may have been interrupted (a process that was stopped and continued gets `EINTR`,
//! signal(7)), may have returned a part of the reports, or may be long over when this thread runs
//! again. So before a deadline counts, the selector and the inbox are read once more, and each
//! connection that is late polls its own socket, by a poll(2) that begins behind the deadline. It
//! costs nothing where no deadline has passed.
//!
//! # Limitations
//! The work of another thread cannot be polled; its deadline is extended once where it fires late.

use super::event_loop::Reactor;
use crate::event_loop::overdue::FindOverdue as _;
use crate::event_loop::turns::EventLoop as _;
use crate::event_loop::wakeup::HandleWakeups as _;
use crate::selector::{Ready, Selector, Token};
use crate::task::Service;
use std::mem;

impl<S: Service, D: Selector> Reactor<'_, S, D> {
    /// Times out the connections whose deadlines have passed, after everything that was reported since.
    #[cfg_attr(karez_realtime, sanitize(realtime = "nonblocking"))]
    pub(super) fn time_out_overdue(&mut self, ready: &mut Vec<Ready>) {
        for report in ready.drain(..) {
            self.note(report);
        }
        if D::OFFLOADS_READS {
            self.note_completed_reads();
        }
        // The selector reports only so many at a time, perhaps not the waker.
        self.drain_notifications();
        self.drain_messages();
        let mut overdue = mem::take(&mut self.core.overdue);
        for token in overdue.drain(..) {
            self.poll_or_time_out(token);
        }
        self.core.overdue = overdue;
    }

    fn poll_or_time_out(&mut self, token: Token) {
        let Some(connection) = self.core.connections.get_mut(token) else { return };
        let offloaded = connection.poll_sockets();
        self.run_turn(token);
        if self.time_out(token, offloaded) {
            self.follow_relay(token);
            self.core.enqueue(token);
        }
    }
}
