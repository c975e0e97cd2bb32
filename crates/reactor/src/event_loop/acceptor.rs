//! The state of accepting: connections without a place, the back-off, and the reactors that get the
//! connections.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use crate::sync::balancer::LeastConnections;
use crate::sync::inbox::Inbox;
use crate::task::Peer;

/// The result of an attempt to make room for one connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Eviction {
    /// An idle connection was closed.
    Done,
    /// An idle connection closes as soon as its last receive is complete.
    Pending,
    /// No connection of this event loop is idle.
    None,
}

/// The state of accepting, without the listeners.
pub(crate) struct Acceptor<D> {
    /// The reactors that get the connections; none where this event loop keeps them.
    pub(crate) balancer: LeastConnections<D>,
    /// Accepted when there was no place for them; they get the next places.
    pub(crate) pending: VecDeque<(OwnedFd, Peer)>,
    /// No connection is accepted until then: there is no place, or no descriptor, for more.
    pub(crate) backoff_until: Option<Instant>,
    /// The other event loops were asked to evict an idle connection.
    pub(crate) eviction_requested: bool,
}

impl<D> Acceptor<D> {
    pub(crate) fn new(reactors: Vec<Arc<Inbox<D>>>) -> Self {
        Self {
            balancer: LeastConnections::new(reactors),
            pending: VecDeque::new(),
            backoff_until: None,
            eviction_requested: false,
        }
    }

    /// Ends the back-off if a connection waits for a place.
    pub(crate) fn retry(&mut self) {
        if !self.pending.is_empty() {
            self.backoff_until = None;
        }
    }

    /// Ends a back-off whose time is over; true while one lasts.
    pub(crate) fn backs_off(&mut self, now: Instant) -> bool {
        self.backoff_until.take_if(|until| *until <= now);
        self.backoff_until.is_some()
    }
}
