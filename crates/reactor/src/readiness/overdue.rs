//! Deadlines that have passed: what has come before is looked at first.
//!
//! A wait may have been interrupted (a process that was stopped and continued gets `EINTR`,
//! signal(7)), may have returned a part of what is ready, or may be long over when this thread runs
//! again. So before a deadline counts, the selector and the inbox are asked once more, and each
//! connection that is late looks at its own socket, by a poll(2) that begins behind the deadline. It
//! costs nothing where no deadline has passed.
//!
//! # Limitations
//! What another thread has to do cannot be looked at; its deadline is extended once where it
//! rings late.

use super::event_loop::Reactor;
use crate::selector::{Demultiplexer, Ready, Token};
use crate::task::Service;

impl<S: Service, D: Demultiplexer> Reactor<'_, S, D> {
    /// Collects the connections whose deadlines have passed; false if there are none.
    pub(super) fn find_overdue(&mut self) -> bool {
        while let Some(timer) = self.timers.pop(self.now) {
            let Some(connection) = self.connections.get_mut(timer.1) else {
                continue;
            };
            if self.timers.fire(timer, &mut connection.deadline, self.now) {
                self.overdue.push(timer.1);
            }
        }
        !self.overdue.is_empty()
    }

    /// Times out what has not come or left by its deadline and cannot now either, after what was
    /// reported since.
    #[cfg_attr(karez_realtime, sanitize(realtime = "nonblocking"))]
    pub(super) fn time_out_overdue(&mut self, ready: &mut Vec<Ready>) {
        for report in ready.drain(..) {
            self.note(report);
        }
        if D::READS {
            self.note_reads();
        }
        // The selector reports only so many at a time, perhaps not the waker.
        self.drain_notifications();
        self.drain_messages();
        let mut overdue = std::mem::take(&mut self.overdue);
        for token in overdue.drain(..) {
            self.look_or_time_out(token);
        }
        self.overdue = overdue;
    }

    fn look_or_time_out(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(token) else {
            return;
        };
        let offloaded = connection.look();
        self.advance(token);
        let Some(connection) = self.connections.get_mut(token) else {
            return;
        };
        if !connection.deadline.has_passed(self.now) {
            return;
        }
        if offloaded && self.timers.extend(token, &mut connection.deadline, self.now) {
            return;
        }
        connection.deadline.clear();
        self.with_connection(token, |connection, cx| connection.time_out(cx));
        self.follow_relay(token);
        self.enqueue(token);
    }
}
