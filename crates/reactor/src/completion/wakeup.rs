//! What reaches an event loop on a completion model from other threads: notifications, and that the stop has begun.

use super::event_loop::Proactor;
use crate::driver::Completer;
use crate::sync::inbox::Notification;
use crate::task::{Reason, Service};

impl<S: Service, C: Completer> Proactor<'_, S, C> {
    pub(super) fn handle_wakeup(&mut self) {
        self.inbox.waker().drain();
        self.watch_waker();
        self.drain_notifications();
        self.drain_messages();
        if self.stop.has_begun() && self.end.is_none() {
            self.begin_to_stop();
        }
        if self.admission.has_room() {
            self.acceptor.try_again();
        }
        // Whoever eviction_requested found nobody idle here; it looks again itself when its pause is over.
        if !self.acceptor.eviction_requested
            && let Some(oldest) = self.oldest_idle()
            && self.admission.take_eviction_request()
        {
            if C::HIDES {
                return self.start_eviction(oldest);
            }
            self.evict(oldest);
            self.stop.wake_all();
        }
    }

    fn drain_notifications(&mut self) {
        let mut notifications = std::mem::take(&mut self.notifications);
        self.inbox.drain(&mut notifications);
        for notification in notifications.drain(..) {
            match notification {
                Notification::Accepted(socket, peer) => self.register(socket, peer),
                // The connection may have ended, and its slot may be another's.
                Notification::JobDone(token, id, result) => {
                    if let Some(connection) = self.connections.get_mut(token) {
                        connection.job_done(id, result);
                        self.advance(token);
                    }
                }
                Notification::PageInDone(..) => {} // here the kernel reads, and waits for the disk
            }
        }
        self.notifications = notifications;
    }

    fn drain_messages(&mut self) {
        let Some(messages) = &self.messages else {
            return;
        };
        for (token, envelope) in messages.drain() {
            // Whoever it was for may be gone.
            if let Some(connection) = self.connections.get_mut(token) {
                connection.push_message(envelope);
                self.advance(token);
            }
        }
    }

    fn begin_to_stop(&mut self) {
        self.end = Some(self.now + self.admission.grace());
        self.close_listeners();
        for token in self.connections.tokens() {
            self.with_connection(token, |connection, cx| {
                connection.say_farewell(Reason::Shutdown, cx);
            });
            self.advance(token);
        }
        while let Some(token) = self.connections.oldest_idle() {
            self.close(token);
        }
    }
}
