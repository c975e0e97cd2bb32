//! The other socket of a connection that relays: registered when the relay first waits, under the
//! token of the connection with its top bit set.

use super::connection::ReadinessConnection;
use super::event_loop::Reactor;
use super::relay::SpliceRelay;
use crate::event_loop::turns::EventLoop as _;
use crate::selector::{Ready, Selector, Token};
use crate::task::Service;

/// The bit that no connection's own token has.
const UPSTREAM: u64 = 1 << 63;

impl<S: Service, D: Selector> Reactor<'_, S, D> {
    /// Handles a report if it is of an upstream.
    pub(super) fn note_upstream(&mut self, report: Ready) -> bool {
        let token = Token(report.token.0 & !UPSTREAM);
        let connection = self.core.connections.get_mut(token);
        let is_one = connection.map(|connection| connection.set_upstream_ready(report)).is_some();
        if is_one {
            self.core.enqueue(token);
        }
        is_one
    }

    /// Updates the registration of an upstream, and removes that of a relay that is over.
    pub(super) fn follow_relay(&mut self, token: Token) {
        let Some(connection) = self.core.connections.get_mut(token) else {
            return;
        };
        if let Some(over) = connection.take_relayed() {
            forget(&mut self.selector, &over);
        }
        let Some(relay) = connection.relay_mut() else {
            return;
        };
        let (wanted, upstream) = (relay.wanted_upstream(), Token(token.0 | UPSTREAM));
        let registered = match relay.watched {
            None => self.selector.register(relay.upstream(), upstream, wanted),
            Some(watched) if D::EDGE || watched == wanted => return,
            Some(_) => self.selector.modify(relay.upstream(), upstream, wanted),
        };
        match registered {
            Ok(()) => relay.watched = Some(wanted),
            Err(_) => self.close(token), // it would not be reported any more
        }
    }

    /// Removes the registrations of the upstreams of a connection that is being closed.
    pub(super) fn forget_upstreams(&mut self, connection: &mut ReadinessConnection<S::Task>) {
        if let Some(over) = connection.take_relayed() {
            forget(&mut self.selector, &over);
        }
        if let Some(relay) = connection.relay_mut() {
            forget(&mut self.selector, relay);
        }
    }
}

/// Deregisters an upstream, also where close(2) does that: the task may keep a duplicate of it.
fn forget<D: Selector>(selector: &mut D, relay: &SpliceRelay) {
    if relay.watched.is_some() {
        let _refused = selector.deregister(relay.upstream());
    }
}
