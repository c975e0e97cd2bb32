//! The account of an exchange, for its [record](ExchangeRecord).

use std::time::Instant;

use karez_http::Status;
use karez_reactor::Peer;
use karez_transfer::{Outbox, Via};

use super::Exchange;
use crate::context::ServerContext;
use crate::cost::RequestCost;
use crate::exchange_record::{ExchangeRecord, TlsDescription};

/// Accounting.
impl Exchange {
    /// Notes the response head that has been appended.
    pub(crate) fn responded(&mut self, status: Status, head_length: u64, now: Instant) {
        (self.status, self.head_length) = (status, head_length);
        self.responded_at = Some(now);
        self.count_head();
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

    /// Counts the bytes that have been sent since, and notes their via.
    pub(crate) fn count_sent(&mut self, outbox: &mut Outbox) {
        self.via = outbox.take_via().or(self.via);
        self.sent += outbox.moved() - self.counted;
        self.counted = outbox.moved();
    }

    /// Sets the bytes of the body that have been sent, and their via, for a protocol that counts them by
    /// stream.
    pub(crate) fn set_sent(&mut self, body: u64, via: Option<Via>) {
        (self.sent, self.via) = (self.head_length + body, via);
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

    /// Passes the record of the exchange, which has ended, to those that want it.
    pub(crate) fn record(
        &self,
        context: &ServerContext,
        peer: Peer,
        tls: Option<TlsDescription>,
        cost: Option<&RequestCost>,
        now: Instant,
    ) {
        self.count(context);
        if !context.records() {
            return;
        }
        context.record(&ExchangeRecord {
            client: self.client_of(peer),
            request_line: self.request_line(),
            request: self.request.as_ref().ok(),
            status: self.status,
            head_bytes: self.head_length.min(self.sent),
            body_bytes: self.sent.saturating_sub(self.head_length),
            head_time: self.responded_at.map(|at| at.saturating_duration_since(self.started)),
            time: now.saturating_duration_since(self.started),
            via: self.via,
            asked_password: self.passed.is_some() || self.status == Status::Unauthorized,
            is_health: self.is_health,
            site: context.sites.name(self.site),
            tls,
            cost,
        });
    }
}
