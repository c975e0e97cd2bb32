//! The protocol of a connection, as the exchanges see it: received bytes to requests, and responses to
//! the outbox.
//!
//! [`Protocol`] is HTTP/1.1, with one exchange at a time; [`h2`] is HTTP/2, whose exchanges are streams.
//!
//! # Limitations
//!
//! The site wants no request bodies, so every body is discarded within
//! [`Limits::max_discarded_body`](karez_http::Limits).

pub(crate) mod h2;

use std::time::Instant;

use karez_http::h1::{Abort, Event, Next, Session};
use karez_http::{Body, BodyPart, Limits, Request, RequestError, ResponseHead, Sink};
use karez_transfer::Outbox;

use crate::file_part::FilePart;
use crate::options::Timeouts;

/// Names an exchange of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExchangeId(pub(crate) u64);

/// The one exchange of an HTTP/1.1 connection.
const ONLY: ExchangeId = ExchangeId(0);

impl ExchangeId {
    /// Returns whether it is of HTTP/1.1, where a connection has one exchange at a time. Streams begin at 1.
    pub(crate) fn is_only(self) -> bool {
        self == ONLY
    }
}

/// An input for an exchange.
pub(crate) enum Input {
    /// A request has begun.
    Head(ExchangeId, Request),
    /// The request has ended, and a response is due.
    End(ExchangeId),
}

/// When to stop receiving, see [`Protocol::deadline`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    /// The connection is between two requests and may be closed.
    pub(crate) idle: bool,
}

/// The state of the protocol on one connection.
pub(crate) struct Protocol {
    session: Session,
    /// When the request that has begun must be complete.
    request_due: Option<Instant>,
}

/// The outbox of the connection as a protocol's sink.
struct OutboxSink<'a>(&'a mut Outbox);

impl Sink<FilePart> for OutboxSink<'_> {
    fn push_bytes(&mut self, bytes: Vec<u8>) {
        self.0.push_bytes(bytes);
    }

    fn push_file(&mut self, file: FilePart) {
        file.push_to(self.0);
    }

    fn buffer(&mut self) -> Vec<u8> {
        Outbox::buffer()
    }
}

impl Protocol {
    pub(crate) fn new() -> Self {
        Self { session: Session::new(Limits::default()), request_due: None }
    }

    /// Adds received bytes. Call [`next`](Self::next) until it returns `None`.
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        self.session.receive(bytes);
    }

    /// Returns the next input; `None` if more bytes are needed, or if a response has to be complete
    /// first.
    ///
    /// # Errors
    ///
    /// A request that cannot be served; of an exchange whose head has been returned, if there is one. It
    /// has to be answered, and the connection closes behind the response.
    pub(crate) fn next(&mut self) -> Result<Option<Input>, RequestError> {
        loop {
            match self.session.next() {
                Ok(Some(Event::Head(request))) => {
                    self.session.discard_body();
                    return Ok(Some(Input::Head(ONLY, request)));
                }
                Ok(Some(Event::End { .. })) => {
                    self.request_due = None;
                    return Ok(Some(Input::End(ONLY)));
                }
                Ok(Some(_)) => {} // bodies are discarded
                Ok(None) => return Ok(None),
                Err(error) => {
                    self.request_due = None;
                    return Err(error);
                }
            }
        }
    }

    /// Returns when the next bytes must have been received. The time for a request runs from its first
    /// byte.
    pub(crate) fn deadline(&mut self, now: Instant, timeouts: &Timeouts) -> Deadline {
        let idle = self.is_idle();
        let at = if idle {
            self.request_due = None;
            now + timeouts.idle
        } else {
            *self.request_due.get_or_insert(now + timeouts.head)
        };
        Deadline { at, idle }
    }

    /// Ends the wait for a request that did not arrive in time. The error has to be answered.
    pub(crate) fn time_out(&mut self) -> RequestError {
        self.request_due = None;
        self.session.time_out()
    }

    /// Returns whether the connection is between two requests.
    pub(crate) fn is_idle(&self) -> bool {
        self.session.is_idle()
    }

    /// Returns whether the state equals that of a new connection.
    pub(crate) fn is_new(&self) -> bool {
        self.request_due.is_none() && self.session.is_new()
    }

    /// Closes the connection behind the response of an exchange.
    pub(crate) fn close_after_response(&mut self, _: ExchangeId) {
        self.session.close_after_response();
    }

    /// Sends a response head, and a body or the part of it that is known. Returns the length of the head
    /// in bytes.
    pub(crate) fn respond(
        &mut self,
        _: ExchangeId,
        head: &ResponseHead,
        body: Body<FilePart>,
        outbox: &mut Outbox,
    ) -> u64 {
        self.session.respond(head, body, &mut OutboxSink(outbox)) as u64
    }

    /// Appends pieces of a body that is streamed, or whose length the head has.
    pub(crate) fn append(
        &mut self,
        _: ExchangeId,
        parts: Vec<BodyPart<FilePart>>,
        outbox: &mut Outbox,
    ) {
        let mut sink = OutboxSink(outbox);
        for part in parts {
            match part {
                BodyPart::Bytes(bytes) => self.session.append(bytes, &mut sink),
                BodyPart::File(file) => self.session.append_file(file, &mut sink),
            }
        }
    }

    /// Ends a body that was appended. Returns whether that appended anything to the outbox.
    pub(crate) fn finish(&mut self, _: ExchangeId, outbox: &mut Outbox) -> bool {
        self.session.finish(&mut OutboxSink(outbox))
    }

    /// Ends an exchange whose response has been sent. Returns the use of the connection.
    pub(crate) fn complete(&mut self, _: ExchangeId) -> Next {
        self.session.complete()
    }

    /// Ends the connection in the middle of a response. Returns how to close it.
    pub(crate) fn abort(&mut self) -> Abort {
        self.session.abort()
    }
}
