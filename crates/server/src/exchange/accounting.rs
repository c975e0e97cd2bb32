//! The account of an exchange, for the access log.

use std::time::Instant;

use karez_http::Status;
use karez_reactor::Peer;
use karez_transfer::Outbox;

use super::Exchange;
use crate::access_log::{AccessEntry, AccessLog, TlsDescription};
use crate::cost::RequestCost;
use crate::http_clock;

/// Accounting for the access log.
impl Exchange {
    /// Notes the response head that has been appended.
    pub(crate) fn responded(&mut self, status: Status, head_length: u64) {
        (self.status, self.head_length) = (status, head_length);
    }

    /// Notes that the client reset the connection. Without a response, 499 is logged, as nginx does.
    pub(crate) fn client_reset(&mut self) {
        if !self.has_response() {
            self.status = Status::ClientClosedRequest;
        }
    }

    /// Starts counting at the outbox's counter, before bytes of this exchange are appended.
    pub(crate) fn start_counting(&mut self, outbox: &Outbox) {
        self.counted = outbox.moved();
    }

    /// Counts the bytes that have been sent since.
    pub(crate) fn count_sent(&mut self, outbox: &Outbox) {
        self.sent += outbox.moved() - self.counted;
        self.counted = outbox.moved();
    }

    /// Sets the bytes of the body that have been sent, for a protocol that counts them by stream.
    pub(crate) fn set_sent(&mut self, body: u64) {
        self.sent = self.head_length + body;
    }

    /// Returns the peer with the address of the client, for which a proxy may speak.
    fn client_of(&self, peer: Peer) -> Peer {
        match self.client {
            Some(client) if peer.address.is_none_or(|address| address.ip() != client) => {
                Peer::new(Some((client, 0).into()), peer.listener)
            }
            _ => peer,
        }
    }

    /// Writes the line of the access log.
    pub(crate) fn log(
        &self,
        access: &AccessLog,
        peer: Peer,
        tls: Option<TlsDescription>,
        cost: Option<&RequestCost>,
        now: Instant,
    ) {
        access.write(&AccessEntry {
            peer: self.client_of(peer),
            request_line: self.request_line(),
            request: self.request.as_ref().ok(),
            status: self.status,
            bytes: self.sent.saturating_sub(self.head_length),
            took: now.saturating_duration_since(self.started),
            now: http_clock::now(),
            tls,
            cost,
        });
    }
}
