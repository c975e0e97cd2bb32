//! Admission: a connection gets a place, if need be that of the connection that has been idle longest.
//!
//! If none is idle here, the connection waits, accepting backs off, and the other event loops are asked
//! to evict one of theirs.

use std::mem;
use std::os::fd::OwnedFd;

use super::acceptor::Eviction;
use super::turns::EventLoop;
use crate::admission::EXAMINED;
use crate::connection::{Connection as _, EventLoopConnection as _};
use crate::selector::Token;
use crate::sync::inbox::Notification;
use crate::task::{Peer, Reason};

/// Admission and eviction, on every event loop.
pub(crate) trait AdmitConnections<'a>: EventLoop<'a> {
    /// Returns whether connections may be admitted now, and takes back a request for an eviction.
    fn may_admit(&mut self) -> bool {
        let core = self.core();
        if core.acceptor.backs_off(core.now) {
            return false;
        }
        if mem::take(&mut core.acceptor.eviction_requested) {
            core.admission.set_eviction_wanted(false);
        }
        true
    }

    /// Gives a connection a place; false if it has to wait for one.
    fn admit(&mut self, (socket, peer): (OwnedFd, Peer)) -> bool {
        while !self.core().admission.enter() {
            let eviction = self.evict_idle();
            if eviction != Eviction::Done {
                self.core().acceptor.pending.push_front((socket, peer));
                if eviction == Eviction::None {
                    self.request_eviction();
                }
                return false;
            }
        }
        let core = self.core();
        if let Some(reactor) = core.acceptor.balancer.next() {
            reactor.inc_load();
            reactor.push(Notification::Accepted(socket, peer));
        } else {
            core.inbox.inc_load();
            self.register(socket, peer);
        }
        true
    }

    /// Makes room in the descriptor table: one connection less is enough.
    fn free_descriptor(&mut self) {
        if self.evict_idle() == Eviction::None && !self.core().acceptor.balancer.is_empty() {
            self.request_eviction();
        }
    }

    /// Closes the connection that has been idle longest. If that takes a moment, or none is idle,
    /// accepting backs off until a connection is closed here or elsewhere or, by a guess, a descriptor
    /// is free again.
    fn evict_idle(&mut self) -> Eviction {
        let eviction = self.oldest_idle().map_or(Eviction::None, |token| self.evict(token));
        if eviction != Eviction::Done {
            self.back_off();
        }
        eviction
    }

    /// Closes an idle connection to make room for another.
    fn evict(&mut self, token: Token) -> Eviction {
        let core = self.core();
        if let Some(connection) = core.connections.get_mut(token)
            && !connection.end_receiving()
        {
            connection.state().evicting = true;
            core.connections.set_busy(token);
            return Eviction::Pending;
        }
        self.with_connection(token, |connection, cx| connection.say_farewell(Reason::Evicted, cx));
        self.close(token);
        Eviction::Done
    }

    /// Returns the connection that has been idle longest. One with unread bytes is not idle: they have
    /// not been reported yet. One whose peer has not received all of its response is taken only if the next oldest
    /// are such ones, too: if the peer sends (HTTP/2 acknowledges bytes that it reads), the kernel answers by a
    /// reset, which destroys the rest.
    fn oldest_idle(&mut self) -> Option<Token> {
        let connections = &mut self.core().connections;
        let mut receiving = (0, None);
        let mut next = connections.oldest_idle();
        while let Some(token) = next.filter(|_| receiving.0 < EXAMINED) {
            next = connections.next_idle(token);
            let connection = connections.get_mut(token)?;
            if connection.has_unread() {
                connections.set_busy(token);
            } else if connection.has_unacknowledged() {
                receiving = (receiving.0 + 1, receiving.1.or(Some(token)));
            } else {
                return Some(token);
            }
        }
        receiving.1
    }

    /// Asks the other event loops to evict an idle connection.
    fn request_eviction(&mut self) {
        let core = self.core();
        core.acceptor.eviction_requested = true;
        core.admission.set_eviction_wanted(true);
        core.shutdown.wake_all();
    }

    fn back_off(&mut self) {
        let core = self.core();
        core.acceptor.backoff_until = Some(core.now + core.admission.backoff());
    }
}

impl<'a, L: EventLoop<'a>> AdmitConnections<'a> for L {}
