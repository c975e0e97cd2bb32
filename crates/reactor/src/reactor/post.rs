//! What reaches a reactor from other threads: letters, and that the stop has begun.

use std::os::fd::AsFd;

use super::Reactor;
use crate::demultiplexer::Demultiplexer;
use crate::inbox::Letter;
use crate::task::Service;

impl<S: Service, D: Demultiplexer> Reactor<'_, S, D> {
    pub(super) fn wake(&mut self) {
        self.inbox.waker().rearm();
        self.read_letters();
        self.read_mail();
        if self.stop.has_begun() && self.end.is_none() {
            self.begin_to_stop();
        }
        if self.admission.has_room() {
            self.door.try_again();
        }
        // Whoever asked found nobody idle here; it looks again itself when its pause is over.
        if !self.door.asked
            && let Some(oldest) = self.oldest_idle()
            && self.admission.shall_make_room()
        {
            self.close(oldest);
            self.stop.wake_all();
        }
    }

    pub(super) fn read_letters(&mut self) {
        let mut letters = std::mem::take(&mut self.letters);
        self.inbox.take(&mut letters);
        for letter in letters.drain(..) {
            match letter {
                Letter::Newcomer(socket, peer) => self.settle(socket, peer),
                // The connection may have ended with the grace, and its place may be another's.
                Letter::Worked(token, serial, done) => {
                    if let Some(connection) = self.connections.get_mut(token) {
                        connection.worked(serial, done, self.now);
                        self.enqueue(token);
                    }
                }
                Letter::Warmed(token, serial) => {
                    if let Some(connection) = self.connections.get_mut(token)
                        && connection.errand.serial == serial
                    {
                        connection.warmed();
                        self.enqueue(token);
                    }
                }
                Letter::Lost(token, serial) => {
                    let connection = self.connections.get_mut(token);
                    if connection.is_some_and(|connection| connection.awaits_job(serial)) {
                        self.close(token);
                    }
                }
            }
        }
        self.letters = letters;
    }

    pub(super) fn read_mail(&mut self) {
        let Some(mailroom) = &self.mailroom else {
            return;
        };
        for (token, parcel) in mailroom.take() {
            // Whoever it was for may be gone.
            if let Some(connection) = self.connections.get_mut(token) {
                connection.post(parcel);
                self.enqueue(token);
            }
        }
    }

    fn begin_to_stop(&mut self) {
        self.end = Some(self.now + self.admission.grace());
        for listener in self.door.close() {
            // Another reactor may have the same socket open still, which keeps it registered here.
            // On edges it is told once more at most; on levels in every turn from now on.
            if !D::EDGE {
                let _refused = self.demultiplexer.deregister(listener.as_fd());
            }
        }
        while let Some(token) = self.connections.oldest_idle() {
            self.close(token);
        }
    }
}
