//! What reaches a reactor from other threads: notifications, and that the stop has begun.

use std::os::fd::AsFd;

use super::event_loop::Reactor;
use crate::selector::Demultiplexer;
use crate::sync::inbox::Notification;
use crate::task::{Reason, Service};

impl<S: Service, D: Demultiplexer> Reactor<'_, S, D> {
    pub(super) fn handle_wakeup(&mut self) {
        self.inbox.waker().drain();
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
            self.evict(oldest);
            self.stop.wake_all();
        }
    }

    pub(super) fn drain_notifications(&mut self) {
        let mut notifications = std::mem::take(&mut self.notifications);
        self.inbox.drain(&mut notifications);
        for notification in notifications.drain(..) {
            match notification {
                Notification::Accepted(socket, peer) => self.register(socket, peer),
                // The connection may have ended, and its slot may be another's.
                Notification::JobDone(token, id, result) => {
                    if let Some(connection) = self.connections.get_mut(token) {
                        connection.job_done(id, result);
                        self.enqueue(token);
                    }
                }
                Notification::PageInDone(token, tag) => {
                    if let Some(connection) = self.connections.get_mut(token) {
                        connection.page_in_done(tag);
                        self.enqueue(token);
                    }
                }
            }
        }
        self.notifications = notifications;
    }

    pub(super) fn drain_messages(&mut self) {
        let Some(messages) = &self.messages else {
            return;
        };
        for (token, envelope) in messages.drain() {
            // Whoever it was for may be gone.
            if let Some(connection) = self.connections.get_mut(token) {
                connection.push_message(envelope);
                self.enqueue(token);
            }
        }
    }

    fn begin_to_stop(&mut self) {
        self.end = Some(self.now + self.admission.grace());
        for listener in self.acceptor.close() {
            // Another reactor may have the same socket open still, which keeps it registered here.
            // On edges it is told once more at most; on levels in every turn from now on.
            if !D::EDGE {
                let _refused = self.demultiplexer.deregister(listener.as_fd());
            }
        }
        for token in self.connections.tokens() {
            self.with_connection(token, |connection, cx| {
                connection.say_farewell(Reason::Shutdown, cx);
            });
            self.enqueue(token);
        }
        while let Some(token) = self.connections.oldest_idle() {
            self.close(token);
        }
    }
}
