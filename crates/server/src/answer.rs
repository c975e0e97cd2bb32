//! Answers: from what was asked and what was found to a head and an outbox.
//!
//! Nothing here sends or reads: a file goes into the outbox as a transfer. The order of decisions
//! is that of RFC 9110 §13.2: conditions, then ranges, then the whole.

use std::cell::RefCell;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use karez_http::Field;
use karez_http::Head;
use karez_http::Request;
use karez_http::Status;
use karez_http::Validators;
use karez_http::Version;
use karez_http::condition::{self, Outcome};
use karez_http::multipart::{self, Multipart};
use karez_http::range::{self, ByteRange, Selection};
use karez_http::{ALLOW, Method};
use karez_reactor::Model;
use karez_transfer::{FileToSocket, Outbox, Settings, Via, cached_bytes};
use rustix::fd::AsFd as _;

use crate::account::{Account, Outlook};
use crate::clock;
use crate::explain;
use crate::site::OpenFile;

/// What the connection does behind an answer (RFC 9112 §9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// Goes on, which HTTP/1.1 takes for granted.
    Stays,
    /// Goes on, which has to be said to an HTTP/1.0 client.
    StaysSaying,
    /// Closes.
    Closes,
}

impl Persistence {
    /// What the request allows and the server wants.
    pub(crate) fn of(request: &Request, stopping: bool) -> Self {
        if stopping || !request.persistent() {
            Self::Closes
        } else if request.version() == Version::Http10 {
            Self::StaysSaying
        } else {
            Self::Stays
        }
    }
}

/// An answer, ready to go.
pub(crate) struct Answer {
    pub(crate) status: Status,
    pub(crate) outbox: Outbox,
    /// How many bytes of the outbox are head.
    pub(crate) head: u64,
}

/// How answers to one request are given.
pub(crate) struct Answering<'a> {
    /// `None`: what came was no request.
    pub(crate) request: Option<&'a Request>,
    pub(crate) persistence: Persistence,
    pub(crate) via: Via,
    /// Where it is told what answers cost.
    pub(crate) account: Option<RefCell<&'a mut Account>>,
}

impl Answering<'_> {
    /// A file, or what the conditions and ranges of the request make of it.
    pub(crate) fn file(&self, file: &Arc<OpenFile>) -> Answer {
        let Some(request) = self.request else {
            return self.plain(Status::InternalServerError, "");
        };
        let validators = file.validators(clock::now().unix);
        match condition::evaluate(request, &validators) {
            Outcome::PreconditionFailed => {
                return self.plain(Status::PreconditionFailed, "the file is not the one you know");
            }
            Outcome::NotModified => return self.not_modified(file),
            Outcome::Proceed => {}
        }
        match selection(request, file, &validators) {
            Selection::Whole => self.whole(file),
            Selection::One(range) => self.part(file, range),
            Selection::Many(ranges) => {
                self.parts(file, &ranges).unwrap_or_else(|| self.whole(file))
            }
            Selection::Unsatisfiable => self.unsatisfiable(file),
        }
    }

    /// The head of a listing whose length nobody knows yet, and its first bytes will follow.
    pub(crate) fn listing(&self, content_type: &str, chunked: bool) -> Answer {
        let mut out = Vec::with_capacity(512);
        let mut head = self.begin(&mut out, Status::Ok);
        head.field("Content-Type", content_type.as_bytes());
        head.field("Vary", b"Accept");
        head.field("Cache-Control", b"no-cache");
        if chunked {
            head.field("Transfer-Encoding", b"chunked");
        }
        self.end(head, None);
        Answer::of(Status::Ok, out)
    }

    /// Redirects to the same name with a slash behind it.
    ///
    /// 308 keeps the method and tells robots which of the two names to keep, but caches may store it
    /// for as long as they like (RFC 9110 §15.4.9), and the directory may become a file: so they
    /// have to ask again each time.
    pub(crate) fn redirect(&self, location: &[u8]) -> Answer {
        self.with_text(Status::PermanentRedirect, "it is a directory", |head| {
            head.field("Location", location);
            head.field("Cache-Control", b"no-cache");
        })
    }

    /// The methods that there are.
    pub(crate) fn options(&self) -> Answer {
        let mut out = Vec::with_capacity(256);
        let mut head = self.begin(&mut out, Status::NoContent);
        head.field("Allow", ALLOW.as_bytes());
        self.end(head, None);
        Answer::of(Status::NoContent, out)
    }

    /// A method that there is, but not here.
    pub(crate) fn not_allowed(&self) -> Answer {
        self.with_text(Status::MethodNotAllowed, "files can only be fetched here", |head| {
            head.field("Allow", ALLOW.as_bytes());
        })
    }

    /// A status and a sentence.
    pub(crate) fn plain(&self, status: Status, why: &str) -> Answer {
        self.with_text(status, why, |_| {})
    }

    /// Not now: 503 (RFC 9110 §15.6.4), and when to ask again.
    pub(crate) fn unavailable(&self, why: &str, retry_after: Duration) -> Answer {
        let seconds = retry_after.as_millis().div_ceil(1000).max(1);
        self.with_text(Status::ServiceUnavailable, why, |head| {
            head.number("Retry-After", u64::try_from(seconds).unwrap_or(u64::MAX));
        })
    }

    fn with_text(&self, status: Status, why: &str, fields: impl FnOnce(&mut Head<'_>)) -> Answer {
        let text = match why {
            "" => format!("{} {}\n", status.code(), status.reason()),
            why => format!("{} {}: {why}\n", status.code(), status.reason()),
        };
        let mut out = Vec::with_capacity(512);
        let mut head = self.begin(&mut out, status);
        fields(&mut head);
        head.field("Content-Type", b"text/plain; charset=utf-8");
        head.number("Content-Length", text.len() as u64);
        self.end(head, None);
        let mut answer = Answer::of(status, out);
        if self.sends_body() {
            answer.outbox.push_bytes(text.into_bytes());
        }
        answer
    }

    fn whole(&self, file: &Arc<OpenFile>) -> Answer {
        let mut out = Vec::with_capacity(512);
        let mut head = self.begin(&mut out, Status::Ok);
        head.number("Content-Length", file.size());
        describe(&mut head, file.lines(clock::now().unix));
        self.end(head, Some((file, &[ByteRange { start: 0, length: file.size() }])));
        let mut answer = Answer::of(Status::Ok, out);
        if self.sends_body() {
            answer.outbox.push_file(self.transfer(file, 0, file.size()));
        }
        answer
    }

    fn part(&self, file: &Arc<OpenFile>, part: ByteRange) -> Answer {
        let mut out = Vec::with_capacity(512);
        let mut head = self.begin(&mut out, Status::PartialContent);
        head.number("Content-Length", part.length);
        let mut content_range = Vec::with_capacity(64);
        multipart::content_range(part, file.size(), &mut content_range);
        head.field("Content-Range", &content_range);
        describe(&mut head, file.lines(clock::now().unix));
        self.end(head, Some((file, &[part])));
        let mut answer = Answer::of(Status::PartialContent, out);
        answer.outbox.push_file(self.transfer(file, part.start, part.length));
        answer
    }

    /// Several ranges, each part by the via like any part of a file; `None` if that would send
    /// more than the file has.
    fn parts(&self, file: &Arc<OpenFile>, ranges: &[ByteRange]) -> Option<Answer> {
        let boundary = boundary();
        let whole = Multipart::new(ranges, file.size(), file.content_type(), &boundary);
        if whole.length() > file.size() {
            return None;
        }
        let mut out = Vec::with_capacity(512);
        let mut head = self.begin(&mut out, Status::PartialContent);
        head.number("Content-Length", whole.length());
        let mut content_type = Vec::with_capacity(80);
        multipart::content_type(&boundary, &mut content_type);
        head.field("Content-Type", &content_type);
        describe(&mut head, file.lines_without_type(clock::now().unix));
        self.end(head, Some((file, ranges)));
        let mut answer = Answer::of(Status::PartialContent, out);
        let (parts, tail) = whole.into_parts();
        for (part_head, range) in parts {
            answer.outbox.push_bytes(part_head);
            answer.outbox.push_file(self.transfer(file, range.start, range.length));
        }
        answer.outbox.push_bytes(tail);
        Some(answer)
    }

    fn unsatisfiable(&self, file: &OpenFile) -> Answer {
        let mut content_range = Vec::with_capacity(32);
        multipart::content_range_unsatisfied(file.size(), &mut content_range);
        self.with_text(Status::RangeNotSatisfiable, "the file is shorter", |head| {
            head.field("Content-Range", &content_range);
        })
    }

    fn not_modified(&self, file: &OpenFile) -> Answer {
        let mut out = Vec::with_capacity(512);
        let mut head = self.begin(&mut out, Status::NotModified);
        head.raw(file.validator_lines(clock::now().unix));
        head.field("Vary", b"Accept-Encoding");
        self.end(head, None);
        Answer::of(Status::NotModified, out)
    }

    /// The fields that every answer has.
    fn begin<'a>(&self, out: &'a mut Vec<u8>, status: Status) -> Head<'a> {
        let mut head = Head::new(out, status);
        head.raw(b"Server: karez\r\n");
        head.field("Date", &clock::now().http);
        head.raw(match self.persistence {
            Persistence::Stays => b"",
            Persistence::StaysSaying => b"Connection: keep-alive\r\n",
            Persistence::Closes => b"Connection: close\r\n",
        });
        head.raw(b"X-Content-Type-Options: nosniff\r\n");
        head
    }

    /// Ends a head. Where it is told what answers cost, that stands in it: with these parts of a
    /// file behind it, if its body is sent at all.
    fn end(&self, mut head: Head<'_>, body: Option<(&Arc<OpenFile>, &[ByteRange])>) {
        if let Some(account) = &self.account {
            let body = body.filter(|_| self.sends_body());
            let ahead = |model| body.and_then(|(file, parts)| self.outlook(model, file, parts));
            explain::tell(&mut head, &mut account.borrow_mut(), ahead);
        }
        head.end();
    }

    /// How these parts of a file are going to leave.
    fn outlook(&self, model: Model, file: &Arc<OpenFile>, parts: &[ByteRange]) -> Option<Outlook> {
        let first = parts.first()?;
        let bytes = parts.iter().map(|part| part.length).sum();
        // Of a remote file that question may not be answered.
        let cached = parts.iter().map(|part| {
            let range = part.start..part.start + part.length;
            (!file.device().remote).then(|| cached_bytes(file.as_fd(), range).ok()).flatten()
        });
        let cached: Option<u64> = cached.sum();
        let transfer = self.transfer(file, first.start, first.length);
        let via = model.grants(transfer.intended(cached.unwrap_or(bytes)));
        (bytes > 0).then_some(Outlook { via, bytes, cached })
    }

    fn sends_body(&self) -> bool {
        self.request.is_none_or(|request| request.method() != Method::Head)
    }

    fn transfer(&self, file: &Arc<OpenFile>, start: u64, length: u64) -> FileToSocket {
        let (source, range) = (Arc::clone(file) as _, start..start + length);
        let settings = Settings { device: file.device(), ..self.via.into() };
        match file.edits() {
            None => FileToSocket::new(source, range, settings),
            Some(edits) => FileToSocket::edited(source, range, Arc::clone(edits), settings),
        }
    }
}

impl Answer {
    fn of(status: Status, head: Vec<u8>) -> Self {
        Self { status, head: head.len() as u64, outbox: Outbox::from(head) }
    }
}

fn selection(request: &Request, file: &OpenFile, validators: &Validators<'_>) -> Selection {
    match request.value(Field::Range) {
        // Ranges are defined for GET alone (RFC 9110 §14.2).
        Some(value)
            if request.method() == Method::Get && condition::if_range(request, validators) =>
        {
            range::select(value, file.size())
        }
        _ => Selection::Whole,
    }
}

/// What the file says of itself, and what every answer with content of a file says.
fn describe(head: &mut Head<'_>, lines: &[u8]) {
    head.raw(lines);
    head.raw(b"Accept-Ranges: bytes\r\nVary: Accept-Encoding\r\n");
}

/// A delimiter that a file cannot contain but by a chance of 2⁻¹²⁸ (RFC 2046 §5.1.1).
fn boundary() -> String {
    let random = || RandomState::new().hash_one(0);
    format!("{:016x}{:016x}", random(), random())
}
