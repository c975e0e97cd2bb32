//! Bytes in, requests out (RFC 9112).
//!
//! The decoder keeps what is incomplete and nothing else: the buffer that a head arrived in becomes
//! the request's, so an idle connection holds no memory and a request costs one allocation. How the
//! bytes were split never changes what comes out. A body is of no use to a server of files: it is
//! read and thrown away, up to a limit, before its request is handed out; RFC 9112 §9.3.

use std::mem;

use crate::chunked::{Chunked, Progress};
use crate::head::Scan;
use crate::limits::{LARGEST_HEAD, Limits};
use crate::refusal::{Fault, Refusal};
use crate::request::Request;
use crate::section::{self, Framing, Section};
use crate::status::Status;

/// Takes what one peer sends and gives the requests that it holds.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    carry: Vec<u8>,
    /// Bytes of the carry before this were taken.
    start: usize,
    /// Empty lines that were skipped before this request.
    blank: u8,
    phase: Phase,
}

impl Decoder {
    /// A decoder for a new connection. It does not allocate.
    pub fn new(limits: Limits) -> Self {
        let limits = Limits { head: limits.head.min(LARGEST_HEAD), ..limits };
        Self { limits, carry: Vec::new(), start: 0, blank: 0, phase: Phase::Head(Scan::new()) }
    }

    /// Adds what the peer sent. Call [`Decoder::next`] until it has no more before the next push,
    /// or the buffer grows.
    pub fn push(&mut self, bytes: &[u8]) {
        if matches!(self.phase, Phase::Finished) {
            return;
        }
        if self.start > 0 {
            self.carry.drain(..self.start);
            self.start = 0;
        }
        self.carry.extend_from_slice(bytes);
    }

    /// The next request; `None` if more bytes are needed.
    ///
    /// After a refusal, and after a request that is not [persistent](Request::persistent), nothing
    /// more comes out: what follows is not for this server to read (RFC 9112 §9.6).
    ///
    /// A request with a body comes out when the body was read and thrown away. It comes out at
    /// once and [undrained](Request::drained) if the body is larger than [`Limits::drain`], or if
    /// the peer waits for `100 Continue` before it sends one (RFC 9110 §10.1.1).
    ///
    /// # Errors
    ///
    /// A [`Refusal`], once, if what the peer sent is not to be served.
    #[expect(clippy::should_implement_trait, reason = "it is one, but a fallible one that resumes")]
    pub fn next(&mut self) -> Result<Option<Request>, Refusal> {
        if let Phase::Head(_) = self.phase
            && let Some(request) = self.head()?
        {
            return Ok(Some(request));
        }
        self.body()
    }

    /// Whether nothing of a request has arrived: the connection is idle. No memory is held then.
    pub fn is_empty(&self) -> bool {
        self.carry.is_empty() && !matches!(self.phase, Phase::Body(_))
    }

    /// Ends the wait for a request that did not arrive in time (RFC 9110 §15.5.9). Nothing more
    /// comes out.
    pub fn time_out(&mut self) -> Refusal {
        let fault = Fault::new(Status::RequestTimeout, "the request did not arrive in time");
        let refusal = match &self.phase {
            Phase::Body(pending) => fault.on(pending.request.head()),
            Phase::Head(_) | Phase::Finished => fault.on(&self.carry[self.start..]),
        };
        self.finish();
        refusal
    }

    /// A request that is complete with its head; if a body follows, the phase is changed.
    fn head(&mut self) -> Result<Option<Request>, Refusal> {
        match self.parse() {
            Ok(None) => Ok(None),
            Ok(Some((request, section))) => Ok(self.begin(request, &section)),
            Err(fault) => {
                let refusal = fault.on(&self.carry[self.start..]);
                self.finish();
                Err(refusal)
            }
        }
    }

    fn parse(&mut self) -> Result<Option<(Request, Section)>, Fault> {
        if !self.skip_blank_lines()? {
            return Ok(None);
        }
        let Phase::Head(scan) = &mut self.phase else {
            return Ok(None);
        };
        let bytes = &self.carry[self.start..];
        if !scan.advance(bytes, &self.limits)? {
            return Ok(None);
        }
        let section = section::read(&bytes[..scan.end], scan)?;
        let scan = mem::replace(scan, Scan::new());
        let head = self.take(scan.end);
        Ok(Some((Request::new(head, &scan, &section), section)))
    }

    /// RFC 9112 §2.2: empty lines before a request line are ignored. False: there is nothing else.
    fn skip_blank_lines(&mut self) -> Result<bool, Fault> {
        while let Some(b'\r') = self.carry.get(self.start) {
            match self.carry.get(self.start + 1) {
                None => return Ok(false),
                Some(b'\n') if self.blank < BLANK_LINES => {
                    self.blank += 1;
                    self.start += 2;
                }
                Some(_) => return Err(Fault::bad("not a request line")),
            }
        }
        self.release();
        Ok(!self.carry.is_empty())
    }

    /// Takes a head out of the carry: the buffer itself if nothing else is in it.
    fn take(&mut self, length: usize) -> Vec<u8> {
        if self.start == 0 && length == self.carry.len() {
            return mem::take(&mut self.carry);
        }
        let head = self.carry[self.start..self.start + length].to_vec();
        self.start += length;
        self.release();
        head
    }

    /// Gives the buffer back if all of it was taken.
    fn release(&mut self) {
        if self.start == self.carry.len() {
            self.carry = Vec::new();
            self.start = 0;
        }
    }

    /// What follows a head: the next one, or a body.
    fn begin(&mut self, mut request: Request, section: &Section) -> Option<Request> {
        self.blank = 0;
        let body = match section.framing {
            Framing::Length(0) => return Some(self.yielded(request)),
            Framing::Length(length) => Body::Length(length),
            Framing::Chunked => Body::Chunked(Chunked::new()),
        };
        if section.continues || matches!(body, Body::Length(length) if length > self.limits.drain) {
            request.leave_undrained();
            return Some(self.yielded(request));
        }
        self.phase = Phase::Body(Box::new(Pending { request, body }));
        None
    }

    fn body(&mut self) -> Result<Option<Request>, Refusal> {
        let Phase::Body(pending) = &mut self.phase else {
            return Ok(None);
        };
        let progress = pending.body.discard(&self.carry[self.start..], &self.limits);
        self.start += match progress {
            Ok(Progress::Whole(length)) => length,
            _ => self.carry.len() - self.start,
        };
        self.release();
        if progress == Ok(Progress::More) {
            return Ok(None);
        }
        let Phase::Body(mut pending) = mem::replace(&mut self.phase, Phase::Head(Scan::new()))
        else {
            return Ok(None);
        };
        if let Err(fault) = progress {
            self.finish();
            return Err(fault.on(pending.request.head()));
        }
        if progress == Ok(Progress::TooLarge) {
            pending.request.leave_undrained();
        }
        Ok(Some(self.yielded(pending.request)))
    }

    fn yielded(&mut self, request: Request) -> Request {
        if !request.persistent() {
            self.finish();
        }
        request
    }

    fn finish(&mut self) {
        self.phase = Phase::Finished;
        self.carry = Vec::new();
        self.start = 0;
    }
}

#[derive(Debug)]
enum Phase {
    Head(Scan),
    /// Boxed: a body is rare, and every connection has a decoder.
    Body(Box<Pending>),
    Finished,
}

/// A request that waits for the end of its body.
#[derive(Debug)]
struct Pending {
    request: Request,
    body: Body,
}

#[derive(Debug)]
enum Body {
    /// So many bytes are left (RFC 9112 §6.2).
    Length(u64),
    Chunked(Chunked),
}

impl Body {
    fn discard(&mut self, bytes: &[u8], limits: &Limits) -> Result<Progress, Fault> {
        let left = match self {
            Self::Length(left) => left,
            Self::Chunked(chunked) => return chunked.discard(bytes, limits),
        };
        let length = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
        *left -= length as u64;
        Ok(if *left == 0 { Progress::Whole(length) } else { Progress::More })
    }
}

/// How many empty lines are ignored before a request.
const BLANK_LINES: u8 = 4;
