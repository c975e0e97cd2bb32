//! The ends of an exchange and of its connection.

use std::time::Instant;

use karez_http::h1::{Abort, Next};
use karez_reactor::{Io, SendError};
use karez_transfer::Changed;

use super::Connection;
use crate::closing::{CloseReason, LINGER, is_local};
use crate::exchange::Exchange;
use crate::job::FileJob;

/// The ends of an exchange and of the connection.
impl Connection {
    /// Ends an exchange whose response has been sent.
    pub(super) fn complete(&mut self, io: &mut Io<'_, FileJob>) {
        let Some(exchange) = self.close_exchange(io.now()) else { return io.close() };
        let id = exchange.id;
        exchange.recycle();
        match self.active.get().protocol.complete(id) {
            Next::Request => self.next_input(io),
            Next::Close => self.shut_down(io),
        }
    }

    pub(super) fn send_failed(&mut self, error: &SendError, io: &mut Io<'_, FileJob>) {
        self.count_sent(io);
        let Some(exchange) = self.active.exchange() else { return io.close() };
        let request = exchange.request_line().escape_ascii().to_string();
        match error {
            SendError::Failed(error) if Changed::is(error) => {
                let exchange = self.close_exchange(io.now());
                let line = exchange.as_ref().map_or(&b""[..], |exchange| exchange.request_line());
                self.context.log_torn(line, "connection");
                return io.reset();
            }
            // A record of the client did not open: the response ends here.
            SendError::Failed(error) if self.transport.send_failed(error, io.outbox()) => {
                return self.fail(io);
            }
            SendError::Truncated { missing } => {
                self.context.log_error(&format!(
                    "\"{request}\": the file became shorter while it was sent; {missing} bytes are \
                     missing, connection closed"
                ));
                self.close_exchange(io.now());
                // A reset could destroy the bytes that were sent.
                return self.shut_down_early(io);
            }
            SendError::Failed(error) if is_local(error) => {
                self.context.log_error(&format!("\"{request}\": send: {error}"));
            }
            // A close would leave the unsent bytes with the kernel, for as long as the client takes some.
            SendError::TimedOut => {
                self.log_debug(|| format!("\"{request}\": not sent in time"));
                return self.reset(io);
            }
            // The client closed, or the grace period is over.
            error => self.log_debug(|| format!("\"{request}\": not sent completely: {error:?}")),
        }
        self.abort(io);
    }

    pub(super) fn reset_by_client(&mut self, io: &mut Io<'_, FileJob>) {
        self.log_debug(|| "the client has reset the connection".to_owned());
        if let Some(exchange) = self.active.exchange() {
            exchange.client_reset();
        }
        self.close_exchange(io.now());
        io.close();
    }

    /// Ends the connection in the middle of a response.
    pub(super) fn abort(&mut self, io: &mut Io<'_, FileJob>) {
        self.close_exchange(io.now());
        match self.active.get().protocol.abort() {
            Abort::Reset => io.reset(),
            Abort::Close => io.close(),
        }
    }

    /// Resets the connection in the middle of a response, which drops the bytes that the kernel has not sent.
    pub(super) fn reset(&mut self, io: &mut Io<'_, FileJob>) {
        self.close_exchange(io.now());
        io.reset();
    }

    /// Writes a line of level debug about the connection.
    pub(super) fn log_debug(&self, text: impl FnOnce() -> String) {
        self.context.log_debug(self.address, text);
    }

    /// Removes the exchange, and records it.
    pub(super) fn close_exchange(&mut self, now: Instant) -> Option<Exchange> {
        let exchange = self.active.get().exchange.take()?;
        let cost = self.cost.as_mut().map(|cost| cost.take());
        let (peer, tls) = (self.peer(), self.transport.describe());
        exchange.record(&self.context, peer, tls, cost.as_ref(), now);
        Some(exchange)
    }

    /// Sends a FIN behind the last response, and gives the client some time to close: it may still be
    /// sending, and a reset would destroy the response on its way (RFC 9112 §9.6).
    pub(super) fn shut_down(&mut self, io: &mut Io<'_, FileJob>) {
        self.transport.end(io.outbox());
        self.shut_down_early(io);
    }

    /// The same in the middle of the stream, which the transport does not end regularly.
    pub(super) fn shut_down_early(&mut self, io: &mut Io<'_, FileJob>) {
        self.counted.set_if_unknown(CloseReason::Finished);
        io.shutdown_write();
        self.active.get().lingers_until = Some(io.now() + LINGER);
        self.linger(io);
    }

    /// Drops received bytes until the client closes. The connection counts as idle, except during a
    /// shutdown, which would otherwise close it before the response has arrived.
    pub(super) fn linger(&mut self, io: &mut Io<'_, FileJob>) {
        if let Some(until) = self.active.lingers_until() {
            if self.transport.cannot_receive() {
                return io.set_timer(Some(until));
            }
            io.receive(until, !self.context.stop.is_triggered(), None);
        }
    }
}
