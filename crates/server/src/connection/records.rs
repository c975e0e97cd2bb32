//! The part of a connection that depends on its transport: handshakes, records without data, and the
//! regular end of a stream. On a plain connection most of it does nothing.

use std::io;

use karez_http::Status;
use karez_http::proxy_protocol::SHORTEST;
use karez_reactor::{Io, RecordType};

use super::{Connection, HANDSHAKE};
use crate::closing::LINGER;
use crate::job::FileJob;
use crate::protocol::Deadline;
use crate::transport::Received;

impl Connection {
    /// Waits for the first bytes.
    pub(super) fn open(&mut self, io: &mut Io<'_, FileJob>) {
        io.send_timeout(self.context.timeouts.send);
        io.min_send_rate(self.context.timeouts.min_rate);
        let handshake = self.transport.handshake_deadline();
        if let Some(deadline) = handshake {
            // It also limits the time in which the handshake's own records are sent.
            io.set_timer(Some(deadline.at));
        }
        let header = self.admission.take_header();
        if header.is_none() {
            self.pace(io);
        }
        match (header, handshake) {
            (Some(header), _) => self.wait_for_header(header, SHORTEST, io),
            (None, None) => io.receive(io.now() + self.context.timeouts.head, true, None),
            (None, Some(deadline)) => {
                io.receive(deadline.at, deadline.idle, self.transport.receive_limit());
            }
        }
    }

    /// Waits for more of the stream; at its end the connection ends, too.
    pub(super) fn wait(&mut self, deadline: Deadline, io: &mut Io<'_, FileJob>) {
        if self.transport.is_ended() {
            return self.shut_down(io);
        }
        self.active.release();
        self.transport.wait(deadline);
        io.receive(deadline.at, deadline.idle, None);
    }

    /// Continues after records without data.
    pub(super) fn received_records(&mut self, received: Received, io: &mut Io<'_, FileJob>) {
        self.configure(io);
        match received {
            Received::Stream => self.next_input(io),
            Received::Again => {
                let deadline = self.transport.wait_again(io.now(), self.context.timeouts.head);
                io.receive(deadline.at, deadline.idle, None);
            }
            Received::Postponed => {}
            // Nothing is received while the records are sent, as with responses.
            Received::Handshake if !io.outbox().is_empty() => io.notify_sent(HANDSHAKE),
            Received::Handshake => self.handshake_sent(io),
            Received::Established { unread } => self.established(unread, io),
            Received::PlainHttp => self.reject_plain(io),
            Received::Failed => self.fail(io),
        }
    }

    /// Begins to speak the protocol that the client has chosen; `unread` was received behind the
    /// handshake.
    fn established(&mut self, mut unread: Vec<u8>, io: &mut Io<'_, FileJob>) {
        if self.context.http2 && self.transport.speaks_http2() {
            io.set_timer(None);
            self.start_http2(io.now());
            return self.receive_http2(&mut unread, RecordType::Data, io);
        }
        let protocol = &mut self.active.get().protocol;
        let kind = RecordType::Data;
        match self.transport.receive(&mut unread, kind, io, |bytes, _| protocol.receive(bytes)) {
            Received::Failed => self.fail(io),
            // Nothing is received while the records are sent, as with responses.
            _ if !io.outbox().is_empty() => io.notify_sent(HANDSHAKE),
            _ => self.handshake_sent(io),
        }
    }

    /// Has the kernel open the records that follow.
    fn configure(&mut self, io: &mut Io<'_, FileJob>) {
        if let Some(option) = self.transport.take_option() {
            io.configure(option);
        }
    }

    /// Takes the answer of the kernel.
    pub(super) fn configured(&mut self, result: &io::Result<()>, io: &mut Io<'_, FileJob>) {
        let refused = result.as_ref().err().map(|error| format!("kernel TLS, TLS_RX: {error}"));
        if !self.transport.configured(result) {
            self.context.log_error(&refused.unwrap_or_default());
            io.reset();
        } else if self.transport.cannot_receive() {
            self.shut_down(io);
        }
    }

    /// Receiving has failed: a record did not open, or the client has reset the connection.
    pub(super) fn receive_failed(&mut self, error: &io::Error, io: &mut Io<'_, FileJob>) {
        if self.active.lingers_until().is_some() && self.transport.cannot_receive() {
            return; // the timer ends it
        }
        if self.transport.receive_failed(error, io.outbox()) {
            return self.fail(io);
        }
        if self.http2.is_some() {
            return io.close();
        }
        self.reset_by_client(io);
    }

    /// Ends a connection whose transport cannot continue, behind its alert. Streams of HTTP/2 are dropped.
    pub(super) fn fail(&mut self, io: &mut Io<'_, FileJob>) {
        self.log_debug(|| "TLS has failed, an alert was sent or received".to_owned());
        io.set_timer(None);
        self.http2 = None;
        self.close_exchange(io.now());
        self.shut_down_early(io);
    }

    /// The records of the handshake have been sent: it continues, or the stream begins.
    pub(super) fn handshake_sent(&mut self, io: &mut Io<'_, FileJob>) {
        if let Some(deadline) = self.transport.handshake_deadline() {
            return io.receive(deadline.at, deadline.idle, self.transport.receive_limit());
        }
        io.set_timer(None);
        if self.active.is_idle() && !self.transport.is_ended() {
            // As on a plain connection, the first request has less time than later ones.
            let at = io.now() + self.context.timeouts.head;
            return self.wait(Deadline { at, idle: true }, io);
        }
        self.next_input(io);
    }

    /// Answers HTTP without TLS on a listener of TLS, in plain text.
    fn reject_plain(&mut self, io: &mut Io<'_, FileJob>) {
        io.set_timer(None);
        let mut error = self.active.get().protocol.time_out();
        error.status = Status::BadRequest;
        error.reason = "plain HTTP was sent to an HTTPS port";
        self.reject(error, io);
    }

    /// Ends a connection between two requests that has been idle for too long.
    pub(super) fn close_idle(&mut self, io: &mut Io<'_, FileJob>) {
        if self.transport.is_plain() { io.close() } else { self.shut_down(io) }
    }

    /// The time of the timer has come: of a job, or of the handshake.
    pub(super) fn timed_out(&mut self, io: &mut Io<'_, FileJob>) {
        if self.active.lingers_until().is_some() {
            return io.close();
        }
        if self.transport.handshake_deadline().is_some() {
            self.log_debug(|| "the TLS handshake was not completed in time".to_owned());
            return io.close();
        }
        self.job_timed_out(io);
    }

    /// The reactor is about to close the connection. At a shutdown the response that is open says that
    /// the connection closes; an idle stream is ended here. It is not idle where the record of a request has begun.
    pub(super) fn farewell(&mut self, io: &mut Io<'_, FileJob>) {
        let idle = self.active.is_idle() && self.transport.is_between_records();
        if idle && self.active.lingers_until().is_none() && self.transport.describe().is_some() {
            self.transport.end(io.outbox());
            // A request that arrives behind it is dropped, so its client has to see the end.
            io.shutdown_write();
            self.active.get().lingers_until = Some(io.now() + LINGER);
        }
    }
}
