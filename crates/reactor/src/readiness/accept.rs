//! Accepting on a readiness model: accept4(2) until `EAGAIN`, a bounded number of times a turn.

use rustix::io::{self, Errno};
use rustix::net::SocketFlags;
use std::os::fd::{AsFd, OwnedFd};

use super::connection::ReadinessConnection;
use super::event_loop::Reactor;
use crate::event_loop::admit::AdmitConnections;
use crate::event_loop::core::LISTENER;
use crate::event_loop::turns::EventLoop;
use crate::listener::peer_gave_up;
use crate::panics::contain;
use crate::selector::{Interest, Selector, Token};
use crate::task::{Peer, Service};

/// Connections accepted from one listener in one turn.
const ACCEPT_BATCH: usize = 64;

impl<'a, S: Service, D: Selector> Reactor<'a, S, D> {
    /// Admits connections that wait, and accepts new ones.
    pub(super) fn accept_all(&mut self) {
        if self.may_admit()
            && let Some(pending) = self.core.acceptor.pending.pop_front()
        {
            self.admit(pending);
        }
        for number in 0..self.listeners.states.len() {
            for _ in 0..ACCEPT_BATCH {
                if self.core.acceptor.backoff_until.is_some() || !self.accept_one(number) {
                    break;
                }
            }
        }
    }

    /// Accepts one connection; false if there is none.
    fn accept_one(&mut self, number: usize) -> bool {
        let Some(state) = self.listeners.states.get_mut(number).filter(|state| state.ready) else {
            return false;
        };
        match state.listener.accept(SocketFlags::NONBLOCK) {
            Ok(accepted) => {
                self.admit(accepted);
            }
            Err(Errno::AGAIN) => state.ready = false,
            Err(errno) if peer_gave_up(errno) => {}
            Err(Errno::MFILE | Errno::NFILE) if !state.listener.has_waiting() => {
                state.ready = false;
            }
            Err(Errno::MFILE) => self.free_descriptor(),
            Err(_) => self.back_off(),
        }
        true
    }

    /// Registers a connection that has been admitted.
    pub(super) fn register_connection(&mut self, socket: OwnedFd, peer: Peer) {
        let (service, now) = (self.core.service, self.core.now);
        let Some(task) = contain(|| service.connect(peer, now)) else {
            return self.leave(true);
        };
        let outbox = self.new_outbox();
        let connection = ReadinessConnection::new(socket, task, outbox, self.core.now);
        let token = self.core.connections.insert(connection);
        let Some(connection) = self.core.connections.get_mut(token) else { return };
        match self.selector.register(connection.socket.as_fd(), token, Interest::READ) {
            Ok(()) => self.open(token),
            Err(_no_memory_or_watches) => self.close(token),
        }
    }

    /// Watches the listeners while connections are accepted. Only level-triggered selectors need it.
    ///
    /// # Errors
    /// Those of [`Selector::modify`]; the next call tries it again.
    pub(super) fn update_listener_interest(&mut self) -> io::Result<()> {
        let open = self.core.acceptor.backoff_until.is_none();
        if self.listeners.watched == open {
            return Ok(());
        }
        let interest = if open { Interest::READ } else { Interest::NONE };
        for (state, number) in self.listeners.states.iter().zip(0..) {
            self.selector.modify(state.listener.as_fd(), Token(LISTENER - number), interest)?;
        }
        self.listeners.watched = open;
        Ok(())
    }
}
