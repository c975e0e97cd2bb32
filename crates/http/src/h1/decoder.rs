//! Received bytes to requests (RFC 9112).
//!
//! A [`Decoder`] returns a request as events: its head, pieces of its body, and its end. How the bytes
//! were split when they arrived never changes the sequence of heads, the bytes of a body or the errors.
//!
//! The decoder keeps only incomplete data. The buffer that a head arrived in becomes the
//! buffer of the [`Request`], so an idle connection holds no memory. The next request takes it from a
//! [pool](crate::buffers), if the request was [recycled](Request::recycle).
//!
//! A server that does not want a body [discards](Decoder::discard_body) it. The decoder then reads it and
//! throws it away up to a limit, so that the connection can carry the next request (RFC 9112 §9.3).
//!
//! # Limitations
//!
//! Trailer fields are checked and discarded. A body in another transfer coding than `chunked` is
//! rejected.

use std::mem;

use crate::buffers;
use crate::error::{ParseError, RequestError};
use crate::h1::chunked::{Chunked, ChunkedStep};
use crate::h1::field_section::{self, FieldSection, Framing};
use crate::h1::request_scan::RequestScan;
use crate::limits::{LARGEST_HEAD, Limits};
use crate::request::Request;
use crate::status::Status;

/// Decodes the requests of one connection.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    buffer: Vec<u8>,
    /// Bytes of the buffer before this offset have been decoded.
    start: usize,
    /// Empty lines that were skipped before this request.
    blank: u8,
    phase: Phase,
}

/// An event of a decoder. Each request is one head, any number of body pieces, and one end.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The head of a request.
    Head(Request),
    /// A piece of its body, never empty.
    Body(&'a [u8]),
    /// The end of the request.
    End {
        /// Whether the whole body was read. If not, the rest of it is still to come on the connection,
        /// which cannot carry another request.
        complete: bool,
    },
}

#[derive(Debug)]
enum Phase {
    Head(RequestScan),
    /// Boxed: a body is rare, and every connection has a decoder.
    Body(Box<BodyDecoder>),
    /// The end of a request without a body; whether another request may follow.
    End {
        persistent: bool,
    },
    Finished,
}

/// A body that is being received.
#[derive(Debug)]
struct BodyDecoder {
    framing: BodyFraming,
    /// The body is thrown away.
    discards: bool,
    /// The client waits for `100 Continue` and has sent nothing yet (RFC 9110 §10.1.1).
    expects_continue: bool,
    /// The connection can carry another request behind this one.
    persistent: bool,
}

#[derive(Debug)]
enum BodyFraming {
    /// So many bytes have not been decoded (RFC 9112 §6.2).
    Length(u64),
    Chunked(Chunked),
}

/// A step through a body. Offsets count from the first byte that has not been decoded.
enum BodyStep {
    /// All bytes were taken, and the body goes on.
    NeedsMore,
    /// Content in `begin..end`.
    Data { begin: usize, end: usize },
    /// The body ended with this many bytes.
    Complete(usize),
    /// The body is larger than the decoder discards.
    TooLarge,
}

impl Decoder {
    /// Returns a decoder for a new connection. It does not allocate.
    pub fn new(limits: Limits) -> Self {
        let limits = Limits { head: limits.head.min(LARGEST_HEAD), ..limits };
        Self {
            limits,
            buffer: Vec::new(),
            start: 0,
            blank: 0,
            phase: Phase::Head(RequestScan::new()),
        }
    }

    /// Adds received bytes. Call [`next`](Self::next) until it returns `None` before the next push:
    /// otherwise the buffer grows.
    pub fn push(&mut self, bytes: &[u8]) {
        if matches!(self.phase, Phase::Finished) {
            return;
        }
        self.release();
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        if self.buffer.capacity() == 0 {
            self.buffer = buffers::take();
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next event; `None` if more bytes are needed.
    ///
    /// After an error, after a request whose end is not complete, and after a request that is not
    /// [persistent](Request::persistent), the decoder returns nothing more: the bytes behind it must
    /// not be interpreted (RFC 9112 §9.6).
    ///
    /// # Errors
    ///
    /// A [`RequestError`], once, if the received bytes are not a request that can be served. It is an
    /// error of the body if the head has been returned; then the request line in it is empty.
    #[expect(clippy::should_implement_trait, reason = "events borrow from the decoder")]
    pub fn next(&mut self) -> Result<Option<Event<'_>>, RequestError> {
        match self.phase {
            Phase::Head(_) => self.head(),
            Phase::Body(_) => self.body(),
            Phase::End { persistent } => Ok(Some(self.complete(persistent))),
            Phase::Finished => Ok(None),
        }
    }

    /// Throws the rest of the current body away instead of returning it.
    ///
    /// The next event is the end of the request. It is not complete if the body is larger than
    /// [`Limits::max_discarded_body`], or if the client waits for `100 Continue` before it sends the
    /// body (RFC 9110 §10.1.1): a body that is thrown away is not asked for.
    pub fn discard_body(&mut self) {
        if let Phase::Body(body) = &mut self.phase {
            body.discards = true;
            if let BodyFraming::Chunked(chunked) = &mut body.framing {
                chunked.limit_to(self.limits.max_discarded_body);
            }
        }
    }

    /// Returns whether the connection is idle: no byte of a request has arrived. The decoder then
    /// holds no memory.
    pub fn is_empty(&self) -> bool {
        self.start == self.buffer.len() && !matches!(self.phase, Phase::Body(_) | Phase::End { .. })
    }

    /// Returns whether the decoder is empty and no empty line has been skipped: a [new](Self::new) one could
    /// continue.
    pub fn is_new(&self) -> bool {
        self.is_empty() && self.blank == 0 && matches!(self.phase, Phase::Head(_))
    }

    /// Ends the wait for a request that did not arrive in time (RFC 9110 §15.5.9). The decoder
    /// returns nothing more.
    pub fn time_out(&mut self) -> RequestError {
        let error = ParseError::new(Status::RequestTimeout, "the request did not arrive in time");
        let error = match &self.phase {
            Phase::Head(_) => error.in_head(&self.buffer[self.start..]),
            Phase::Body(_) | Phase::End { .. } | Phase::Finished => error.in_head(b""),
        };
        self.finish();
        error
    }

    fn head(&mut self) -> Result<Option<Event<'_>>, RequestError> {
        match self.parse_head() {
            Ok(None) => Ok(None),
            Ok(Some((request, section))) => {
                self.blank = 0;
                self.phase = self.phase_after(&request, &section);
                Ok(Some(Event::Head(request)))
            }
            Err(error) => {
                let error = error.in_head(&self.buffer[self.start..]);
                self.finish();
                Err(error)
            }
        }
    }

    fn parse_head(&mut self) -> Result<Option<(Request, FieldSection)>, ParseError> {
        if !self.skip_blank_lines()? {
            return Ok(None);
        }
        let Phase::Head(scan) = &mut self.phase else {
            return Ok(None);
        };
        let bytes = &self.buffer[self.start..];
        if !scan.advance(bytes, &self.limits)? {
            return Ok(None);
        }
        let section = field_section::read(&bytes[..scan.end], scan)?;
        let scan = mem::replace(scan, RequestScan::new());
        let head = self.take(scan.end);
        Ok(Some((Request::new(head, &scan, &section), section)))
    }

    /// RFC 9112 §2.2: empty lines before a request line are ignored. Returns whether there is
    /// anything else.
    fn skip_blank_lines(&mut self) -> Result<bool, ParseError> {
        while let Some(b'\r') = self.buffer.get(self.start) {
            match self.buffer.get(self.start + 1) {
                None => return Ok(false),
                Some(b'\n') if self.blank < MAX_BLANK_LINES => {
                    self.blank += 1;
                    self.start += 2;
                }
                Some(_) => return Err(ParseError::bad("not a request line")),
            }
        }
        self.release();
        Ok(!self.buffer.is_empty())
    }

    /// Takes a head out of the buffer: the buffer itself if it holds nothing else.
    fn take(&mut self, length: usize) -> Vec<u8> {
        if self.start == 0 && length == self.buffer.len() {
            return mem::take(&mut self.buffer);
        }
        let head = self.buffer[self.start..self.start + length].to_vec();
        self.start += length;
        self.release();
        head
    }

    /// Frees the buffer if all of it has been decoded.
    fn release(&mut self) {
        if self.start == self.buffer.len() {
            buffers::give_back(mem::take(&mut self.buffer));
            self.start = 0;
        }
    }

    fn phase_after(&self, request: &Request, section: &FieldSection) -> Phase {
        let framing = match section.framing {
            Framing::Length(0) => return Phase::End { persistent: request.persistent() },
            Framing::Length(length) => BodyFraming::Length(length),
            Framing::Chunked => BodyFraming::Chunked(Chunked::new()),
        };
        Phase::Body(Box::new(BodyDecoder {
            framing,
            discards: false,
            expects_continue: section.continues,
            persistent: request.persistent(),
        }))
    }

    fn body(&mut self) -> Result<Option<Event<'_>>, RequestError> {
        loop {
            let Phase::Body(body) = &mut self.phase else {
                return Ok(None);
            };
            match body.step(&self.buffer[self.start..], &self.limits) {
                Ok(BodyStep::NeedsMore) => {
                    self.start = self.buffer.len();
                    self.release();
                    return Ok(None);
                }
                Ok(BodyStep::Data { begin, end }) => {
                    let discards = body.discards;
                    let (begin, end) = (self.start + begin, self.start + end);
                    self.start = end;
                    if !discards {
                        return Ok(Some(Event::Body(&self.buffer[begin..end])));
                    }
                }
                Ok(BodyStep::Complete(length)) => {
                    let persistent = body.persistent;
                    self.start += length;
                    self.release();
                    return Ok(Some(self.complete(persistent)));
                }
                Ok(BodyStep::TooLarge) => {
                    self.finish();
                    return Ok(Some(Event::End { complete: false }));
                }
                Err(error) => {
                    self.finish();
                    return Err(error.in_head(b""));
                }
            }
        }
    }

    /// Ends a request whose body was read.
    fn complete(&mut self, persistent: bool) -> Event<'static> {
        self.phase = Phase::Head(RequestScan::new());
        if !persistent {
            self.finish();
        }
        Event::End { complete: true }
    }

    /// Decodes nothing more.
    fn finish(&mut self) {
        self.phase = Phase::Finished;
        self.buffer = Vec::new();
        self.start = 0;
    }
}

impl BodyDecoder {
    fn step(&mut self, bytes: &[u8], limits: &Limits) -> Result<BodyStep, ParseError> {
        if self.discards && self.expects_continue {
            return Ok(BodyStep::TooLarge);
        }
        let left = match &mut self.framing {
            BodyFraming::Length(left) => left,
            BodyFraming::Chunked(chunked) => {
                return chunked.step(bytes, limits).map(BodyStep::from);
            }
        };
        if self.discards && *left > limits.max_discarded_body {
            return Ok(BodyStep::TooLarge);
        }
        let length = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
        *left -= length as u64;
        Ok(match (length, *left) {
            (0, 0) => BodyStep::Complete(0),
            (0, _) => BodyStep::NeedsMore,
            _ => BodyStep::Data { begin: 0, end: length },
        })
    }
}

impl From<ChunkedStep> for BodyStep {
    fn from(step: ChunkedStep) -> Self {
        match step {
            ChunkedStep::NeedsMore => Self::NeedsMore,
            ChunkedStep::Data { begin, end } => Self::Data { begin, end },
            ChunkedStep::Complete(length) => Self::Complete(length),
            ChunkedStep::TooLarge => Self::TooLarge,
        }
    }
}

/// Empty lines that are ignored before a request.
const MAX_BLANK_LINES: u8 = 4;
