//! The other socket of a connection that relays: registered when the relay first waits, under the
//! token of the connection with its top bit set.

use super::connection::ReadinessConnection;
use super::event_loop::Reactor;
use super::relay::Relay;
use crate::selector::{Demultiplexer, Ready, Token};
use crate::task::Service;

/// No connection's own token has it.
const UPSTREAM: u64 = 1 << 63;

impl<S: Service, D: Demultiplexer> Reactor<'_, S, D> {
    /// Notes a report if it is of an upstream.
    pub(super) fn note_upstream(&mut self, report: Ready) -> bool {
        let token = Token(report.token.0 & !UPSTREAM);
        let connection = self.connections.get_mut(token);
        let is_one = connection.map(|connection| connection.set_upstream_ready(report)).is_some();
        if is_one {
            self.enqueue(token);
        }
        is_one
    }

    /// Watches an upstream for what it is waited for, and one whose relay is over no more.
    pub(super) fn follow_relay(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(token) else {
            return;
        };
        if let Some(over) = connection.take_relayed() {
            forget(&mut self.demultiplexer, &over);
        }
        let Some(relay) = connection.relay_mut() else {
            return;
        };
        let (wanted, name) = (relay.wanted_upstream(), Token(token.0 | UPSTREAM));
        let told = match relay.watched {
            None => self.demultiplexer.register(relay.upstream(), name, wanted),
            Some(watched) if D::EDGE || watched == wanted => return,
            Some(_) => self.demultiplexer.modify(relay.upstream(), name, wanted),
        };
        match told {
            Ok(()) => relay.watched = Some(wanted),
            Err(_) => self.close(token), // nobody would hear of it any more
        }
    }

    /// The connection is over, so its relays are, too.
    pub(super) fn forget_upstreams(&mut self, connection: &mut ReadinessConnection<S::Task>) {
        if let Some(over) = connection.take_relayed() {
            forget(&mut self.demultiplexer, &over);
        }
        if let Some(relay) = connection.relay_mut() {
            forget(&mut self.demultiplexer, relay);
        }
    }
}

/// Also where the kernel forgets what is closed: whoever gave it to us may have a duplicate.
fn forget<D: Demultiplexer>(demultiplexer: &mut D, relay: &Relay) {
    if relay.watched.is_some() {
        let _refused = demultiplexer.deregister(relay.upstream());
    }
}
