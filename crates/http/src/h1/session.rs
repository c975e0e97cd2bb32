//! The server's side of one HTTP/1.1 connection, without I/O: received bytes to requests, and responses
//! to bytes and files to send.
//!
//! One exchange is open at a time. Pipelined requests wait in the decoder, so responses have the order
//! of the requests (RFC 9112 §9.3.2). The session knows the inputs of a response's framing: the
//! version and the method of the request, and whether the connection persists.
//!
//! # Limitations
//!
//! A request that ends with an error after its head is answered once, and nothing is read after it. No
//! interim response (100, 103) is sent, and trailers are neither received nor sent.

use crate::body::{Body, BodyPart, Sink};
use crate::error::RequestError;
use crate::h1::decoder::{Decoder, Event};
use crate::h1::encoder::{KeepAlive, LAST_CHUNK, chunk, encode};
use crate::limits::Limits;
use crate::method::Method;
use crate::response::ResponseHead;
use crate::version::Version;

/// A connection that a server serves by HTTP/1.1.
///
/// ```
/// use karez_http::h1::{Event, Next, Session};
/// use karez_http::{Body, BodyLength, Limits, ResponseHead, Sink, Status};
///
/// struct Output(Vec<u8>);
/// impl Sink<()> for Output {
///     fn push_bytes(&mut self, bytes: Vec<u8>) {
///         self.0.extend(bytes);
///     }
///     fn push_file(&mut self, (): ()) {}
/// }
///
/// let mut session = Session::new(Limits::default());
/// session.receive(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
/// let Some(Event::Head(request)) = session.next()? else { panic!("incomplete") };
/// assert_eq!(request.target(), b"/");
/// assert!(matches!(session.next()?, Some(Event::End { complete: true })));
///
/// let mut head = ResponseHead::new(Status::Ok);
/// head.length(BodyLength::Known(3));
/// let mut output = Output(Vec::new());
/// session.respond(&head, Body::Bytes(b"hi\n".to_vec()), &mut output);
/// assert_eq!(output.0, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi\n");
/// assert_eq!(session.complete(), Next::Request);
/// # Ok::<(), karez_http::RequestError>(())
/// ```
#[derive(Debug)]
pub struct Session {
    decoder: Decoder,
    state: ExchangeState,
    /// Of the request that is open.
    version: Version,
    is_head: bool,
    /// The connection persists behind the response.
    persistent: bool,
    stream: Stream,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ExchangeState {
    /// Between two requests, or within the head of one.
    Idle,
    /// The head of a request has been returned, and its end has not.
    Receiving,
    /// The request has ended, and its response has not.
    Responding,
}

/// The framing of a body that is appended piece by piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    None,
    Chunked,
    /// The end of the connection ends the body.
    ToEnd,
    /// The head has the length.
    Sized,
}

/// The use of the connection behind a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another request may follow.
    Request,
    /// The connection has to be closed behind the response.
    Close,
}

/// How to close a connection in the middle of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    /// A regular close: the client notices that the response is not complete.
    Close,
    /// A reset: a regular close would make the part look like the whole response.
    Reset,
}

impl Session {
    /// Returns a session for a new connection. It does not allocate.
    pub fn new(limits: Limits) -> Self {
        Self {
            decoder: Decoder::new(limits),
            state: ExchangeState::Idle,
            version: Version::Http11,
            is_head: false,
            persistent: true,
            stream: Stream::None,
        }
    }

    /// Adds received bytes. Call [`next`](Self::next) until it returns `None`.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.decoder.push(bytes);
    }

    /// Returns the next event of the request: `None` if more bytes are needed, or while a response is
    /// open.
    ///
    /// # Errors
    ///
    /// As [`Decoder::next`]. It has to be answered by [`respond`](Self::respond); the connection closes
    /// behind the response.
    #[expect(clippy::should_implement_trait, reason = "events borrow from the session")]
    pub fn next(&mut self) -> Result<Option<Event<'_>>, RequestError> {
        if self.state == ExchangeState::Responding {
            return Ok(None);
        }
        let result = self.decoder.next();
        match &result {
            Ok(Some(Event::Head(request))) => {
                self.state = ExchangeState::Receiving;
                self.version = request.version();
                self.is_head = request.method() == Method::Head;
                self.persistent = request.persistent();
            }
            Ok(Some(Event::End { complete })) => {
                self.state = ExchangeState::Responding;
                self.persistent &= complete;
            }
            Ok(Some(Event::Body(_)) | None) => {}
            Err(_) => {
                if self.state == ExchangeState::Idle {
                    (self.version, self.is_head) = (Version::Http11, false);
                }
                self.state = ExchangeState::Responding;
                self.persistent = false;
            }
        }
        result
    }

    /// Throws the rest of the request's body away: see [`Decoder::discard_body`].
    pub fn discard_body(&mut self) {
        self.decoder.discard_body();
    }

    /// Ends the wait for a request that did not arrive in time. The error has to be answered.
    pub fn time_out(&mut self) -> RequestError {
        if self.state == ExchangeState::Idle {
            (self.version, self.is_head) = (Version::Http11, false);
        }
        self.state = ExchangeState::Responding;
        self.persistent = false;
        self.decoder.time_out()
    }

    /// Returns whether the connection is between two requests, and no byte of the next has arrived.
    pub fn is_idle(&self) -> bool {
        self.state == ExchangeState::Idle && self.decoder.is_empty()
    }

    /// Returns whether the session is idle, and no empty line, of which a few are allowed before a request,
    /// has arrived: a [new](Self::new) session could continue.
    pub fn is_new(&self) -> bool {
        self.state == ExchangeState::Idle && self.decoder.is_new()
    }

    /// Has the connection close behind the response that is open.
    pub fn close_after_response(&mut self) {
        self.persistent = false;
    }

    /// Sends a response head and its body, or the part of it that is known. Returns the length of the
    /// encoded head in bytes.
    ///
    /// A body is left out where the request was HEAD.
    pub fn respond<F>(
        &mut self,
        head: &ResponseHead,
        body: Body<F>,
        sink: &mut impl Sink<F>,
    ) -> usize {
        match body {
            Body::Stream => self.stream = self.stream_framing(),
            Body::Sized if !self.is_head => self.stream = Stream::Sized,
            _ => {}
        }
        let mut out = sink.buffer();
        out.reserve(HEAD_CAPACITY);
        encode(head, self.keep_alive(), self.version != Version::Http10, &mut out);
        let length = out.len();
        sink.push_bytes(out);
        match body {
            _ if self.is_head => {}
            Body::Empty | Body::Stream | Body::Sized => {}
            Body::Bytes(bytes) => sink.push_bytes(bytes),
            Body::File(file) => sink.push_file(file),
            Body::Parts(parts) => parts.into_iter().for_each(|part| match part {
                BodyPart::Bytes(bytes) => sink.push_bytes(bytes),
                BodyPart::File(file) => sink.push_file(file),
            }),
        }
        length
    }

    /// Appends a piece of a [streamed](Body::Stream) or [sized](Body::Sized) body.
    pub fn append<F>(&mut self, bytes: Vec<u8>, sink: &mut impl Sink<F>) {
        match self.stream {
            Stream::None => {}
            Stream::ToEnd | Stream::Sized => sink.push_bytes(bytes),
            Stream::Chunked => {
                let mut out = Vec::with_capacity(bytes.len() + 20);
                chunk(&bytes, &mut out);
                sink.push_bytes(out);
            }
        }
    }

    /// Appends a part of a file to a [sized](Body::Sized) body; to any other, nothing.
    pub fn append_file<F>(&mut self, file: F, sink: &mut impl Sink<F>) {
        if self.stream == Stream::Sized {
            sink.push_file(file);
        }
    }

    /// Ends a body that was appended. Returns whether that appended anything.
    pub fn finish<F>(&mut self, sink: &mut impl Sink<F>) -> bool {
        let chunked = self.stream == Stream::Chunked;
        if chunked {
            sink.push_bytes(LAST_CHUNK.to_vec());
        }
        self.stream = Stream::None;
        chunked
    }

    /// Ends the exchange: the whole response has been sent. Returns the use of the connection.
    pub fn complete(&mut self) -> Next {
        self.state = ExchangeState::Idle;
        self.stream = Stream::None;
        if self.persistent { Next::Request } else { Next::Close }
    }

    /// Ends the exchange in the middle of its response. Returns how to close the connection.
    pub fn abort(&mut self) -> Abort {
        match std::mem::replace(&mut self.stream, Stream::None) {
            Stream::ToEnd => Abort::Reset,
            Stream::None | Stream::Chunked | Stream::Sized => Abort::Close,
        }
    }

    /// Returns the framing of a streamed body. HTTP/1.0 knows no chunks, so the connection ends it.
    fn stream_framing(&mut self) -> Stream {
        let http10 = self.version == Version::Http10;
        self.persistent &= !http10;
        match (self.is_head, http10) {
            (true, _) => Stream::None,
            (false, true) => Stream::ToEnd,
            (false, false) => Stream::Chunked,
        }
    }

    fn keep_alive(&self) -> KeepAlive {
        match (self.persistent, self.version) {
            (false, _) => KeepAlive::Close,
            (true, Version::Http10) => KeepAlive::Explicit,
            (true, _) => KeepAlive::Implicit,
        }
    }
}

/// Most heads are not larger, in bytes.
const HEAD_CAPACITY: usize = 512;

#[cfg(test)]
mod tests;
