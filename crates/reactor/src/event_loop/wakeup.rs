//! The wake-up handler: notifications and messages of other threads, a shutdown, and requests for an
//! eviction.

use std::mem;

use super::acceptor::Eviction;
use super::admit::AdmitConnections;
use super::turns::EventLoop;
use crate::connection::{Connection as _, EventLoopConnection as _};
use crate::sync::inbox::Notification;
use crate::task::Reason;

/// Wake-ups, on every event loop.
pub(crate) trait HandleWakeups<'a>: EventLoop<'a> {
    /// Handles everything for which other threads have woken this one.
    fn handle_wakeup(&mut self) {
        self.core().inbox.waker().drain();
        self.rearm_waker();
        self.drain_notifications();
        self.drain_messages();
        let core = self.core();
        core.shutdown.respond(&mut core.round);
        if core.shutdown.is_triggered() && core.grace_end.is_none() {
            core.grace_end = Some(core.now + core.admission.grace());
            core.draining = true;
            if !core.shutdown.closes_idle() {
                self.begin_draining();
            }
        }
        let core = self.core();
        if core.draining && core.shutdown.closes_idle() {
            core.draining = false;
            self.begin_shutdown();
        }
        let core = self.core();
        if core.admission.has_room() {
            core.acceptor.retry();
        }
        // The event loop that has asked found none idle; it looks again when its back-off ends.
        if core.admission.is_eviction_wanted()
            && !core.acceptor.eviction_requested
            && let Some(oldest) = self.oldest_idle()
            && self.core().admission.take_eviction_request()
            && self.evict(oldest) == Eviction::Done
        {
            self.core().shutdown.wake_all();
        }
    }

    /// Takes connections, results of jobs and finished page-ins.
    fn drain_notifications(&mut self) {
        let core = self.core();
        let mut notifications = mem::take(&mut core.notifications);
        core.inbox.drain(&mut notifications);
        for notification in notifications.drain(..) {
            // The connection may have been closed, and its slot used again: the token says so.
            match notification {
                Notification::Accepted(socket, peer) => self.register(socket, peer),
                Notification::JobDone(token, id, result) => {
                    if let Some(connection) = self.core().connections.get_mut(token) {
                        connection.state().job_done(id, result);
                        self.resume(token);
                    }
                }
                Notification::PageInDone(token, tag) => {
                    if let Some(connection) = self.core().connections.get_mut(token) {
                        connection.page_in_done(tag);
                        self.resume(token);
                    }
                }
            }
        }
        self.core().notifications = notifications;
    }

    /// Takes messages. Those to a connection that has been closed are dropped.
    fn drain_messages(&mut self) {
        let Some(messages) = &self.core().messages else { return };
        for (token, envelope) in messages.drain() {
            if let Some(connection) = self.core().connections.get_mut(token) {
                connection.state().push_message(envelope);
                self.resume(token);
            }
        }
    }

    /// Stops accepting, and lets each task announce the end. Idle connections stay.
    fn begin_draining(&mut self) {
        if self.retire_listeners() {
            self.accepting_ended();
        }
        self.say_farewell_to_all(Reason::Draining);
    }

    fn say_farewell_to_all(&mut self, reason: Reason) {
        for token in self.core().connections.tokens() {
            self.with_connection(token, |connection, cx| connection.say_farewell(reason, cx));
            self.resume(token);
        }
    }

    /// Stops accepting, lets each task append a farewell, and closes idle connections.
    fn begin_shutdown(&mut self) {
        self.core().acceptor.pending.clear();
        self.close_listeners();
        self.accepting_ended();
        self.say_farewell_to_all(Reason::Shutdown);
        while let Some(token) = self.core().connections.oldest_idle() {
            self.close(token);
        }
    }
}

impl<'a, L: EventLoop<'a>> HandleWakeups<'a> for L {}
