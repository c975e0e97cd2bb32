//! What reaches a proactor from other threads: letters, and that the stop has begun.

use super::Proactor;
use crate::completer::Completer;
use crate::inbox::Letter;
use crate::task::Service;

impl<S: Service, C: Completer> Proactor<'_, S, C> {
    pub(super) fn wake(&mut self) {
        self.inbox.waker().rearm();
        self.watch_waker();
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
            if C::HIDES {
                return self.dismiss(oldest);
            }
            self.close(oldest);
            self.stop.wake_all();
        }
    }

    fn read_letters(&mut self) {
        let mut letters = std::mem::take(&mut self.letters);
        self.inbox.take(&mut letters);
        for letter in letters.drain(..) {
            match letter {
                Letter::Newcomer(socket, peer) => self.settle(socket, peer),
                // The connection may have ended with the grace, and its place may be another's.
                Letter::Worked(token, serial, done) => {
                    if let Some(connection) = self.connections.get_mut(token) {
                        connection.worked(serial, done, self.now);
                        self.advance(token);
                    }
                }
                Letter::Warmed(..) => {} // here the kernel reads, and waits for the disk itself
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

    fn read_mail(&mut self) {
        let Some(mailroom) = &self.mailroom else {
            return;
        };
        for (token, parcel) in mailroom.take() {
            // Whoever it was for may be gone.
            if let Some(connection) = self.connections.get_mut(token) {
                connection.post(parcel);
                self.advance(token);
            }
        }
    }

    fn begin_to_stop(&mut self) {
        self.end = Some(self.now + self.admission.grace());
        self.shut_door();
        while let Some(token) = self.connections.oldest_idle() {
            self.close(token);
        }
    }
}
