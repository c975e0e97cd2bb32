//! Accepting on a completion model.
//!
//! One operation accepts many connections, as long as there is room for all that the kernel may have queued; otherwise
//! it accepts one, because each that is pending takes a descriptor. Several may be pending when another event loop has
//! taken the last place. They wait, the operation is cancelled, and it is started again when all of them have a place.

use rustix::io::{self, Errno};
use std::os::fd::OwnedFd;

use super::connection::CompletionConnection;
use super::event_loop::Proactor;
use crate::driver::{Driver, DriverSocket as _};
use crate::event_loop::admit::AdmitConnections;
use crate::event_loop::turns::EventLoop;
use crate::listener::{BACKLOG, peer_gave_up};
use crate::panics::contain;
use crate::task::{Peer, Service};

impl<'a, S: Service, C: Driver> Proactor<'a, S, C> {
    /// Starts to accept, unless connections wait for a place.
    pub(super) fn accept(&mut self) {
        let acceptor = &self.core.acceptor;
        if acceptor.backoff_until.is_none() && acceptor.pending.is_empty() {
            let many = self.core.admission.has_room_for(BACKLOG.unsigned_abs() as usize);
            self.listeners.arm(many, &mut self.core.resources.driver);
        }
    }

    /// Takes the result of an accept.
    pub(super) fn accepted(&mut self, tag: u64, last: bool, accepted: io::Result<OwnedFd>) {
        // After the shutdown has begun there is no listener any more.
        let Some(listener) = self.listeners.completed(tag, last) else { return };
        match accepted {
            Ok(socket) => {
                // A peer that has closed the connection already has no address.
                if let Ok(peer) = listener.peer_of(&socket) {
                    self.core.acceptor.pending.push_back((socket, peer));
                }
            }
            Err(Errno::CANCELED | Errno::AGAIN) => {}
            Err(errno) if peer_gave_up(errno) => {}
            // A descriptor is not free as soon as its connection is closed.
            Err(Errno::MFILE) => {
                if listener.has_waiting() {
                    self.free_descriptor();
                }
                self.back_off();
            }
            Err(_) => self.back_off(),
        }
        if self.listeners.are_done() {
            self.accepting_ended();
        }
    }

    /// Admits connections that wait. Where one has to go on waiting, accepting stops.
    pub(super) fn admit_all(&mut self) {
        if !self.may_admit() {
            return;
        }
        while self.core.acceptor.backoff_until.is_none()
            && let Some(pending) = self.core.acceptor.pending.pop_front()
        {
            if !self.admit(pending) {
                return self.stop_accepting();
            }
        }
    }

    /// Registers a connection that has been admitted.
    pub(super) fn register_connection(&mut self, socket: OwnedFd, peer: Peer) {
        let socket = match C::Socket::new(socket) {
            Ok(socket) => socket,
            Err((_no_descriptor, socket)) => return self.requeue(socket, peer),
        };
        let core = &mut self.core;
        let (service, now) = (core.service, core.now);
        let Some(task) = contain(|| service.connect(peer, now)) else {
            return self.leave(true);
        };
        let token = core.connections.insert(CompletionConnection::new(socket, task, core.now));
        if let Some(connection) = core.connections.get_mut(token) {
            connection.set_tag(token.0);
        }
        self.open(token);
    }

    /// Lets an admitted connection, for which there was no second descriptor, wait until another
    /// connection is closed. If there is no other, it is closed: all event loops would wait for each
    /// other.
    fn requeue(&mut self, socket: OwnedFd, peer: Peer) {
        self.leave(false);
        if self.core.connections.len() == 0 {
            return;
        }
        self.evict_idle();
        self.core.acceptor.pending.push_front((socket, peer));
        self.stop_accepting();
        self.back_off();
    }

    fn stop_accepting(&mut self) {
        self.listeners.disarm(&mut self.core.resources.driver);
    }
}
