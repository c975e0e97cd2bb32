//! Responses: from a request and a file that was found to a response head and a body.
//!
//! Nothing here reads or sends: a file goes into the body as a transfer. The order of decisions is that
//! of RFC 9110 §13.2: conditions, then ranges, then the whole file. Framing is left to the protocol, so
//! a response is the same for every version of HTTP.
//!
//! # Limitations
//!
//! Several ranges that overlap, or whose part headers would make the body larger than the file, are
//! answered by the whole file.

use std::cell::RefCell;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use karez_http::condition::{self, Precondition};
use karez_http::multipart::{self, Multipart};
use karez_http::range::{self, ByteRange, Selection};
use karez_http::{
    Body, BodyLength, BodyPart, Field, Method, PreparedPart, PreparedStart, Request, ResponseHead,
    Status, Validators,
};
use karez_transfer::Via;

use crate::cost::{BodyPlan, RequestCost};
use crate::file_part::FilePart;
use crate::http_clock;
use crate::route::ALLOWED_METHODS;
use crate::rules::Rules;
use crate::rules::auth::credentials::CHALLENGE;
use crate::rules::field::HiddenFields;
use crate::server_timing;
use crate::site::OpenFile;
use crate::torn::Torn;

mod archive;
mod plan;

/// A response that has not been framed.
pub(crate) struct Response {
    pub(crate) head: ResponseHead,
    pub(crate) body: Body<FilePart>,
}

/// Makes responses to one request.
pub(crate) struct ResponseBuilder<'a> {
    /// `None` if the received bytes were no request.
    pub(crate) request: Option<&'a Request>,
    pub(crate) rules: &'a Rules,
    pub(crate) via: Via,
    pub(crate) torn: Torn,
    /// Present if `Server-Timing` is to be added.
    pub(crate) cost: Option<RefCell<&'a mut RequestCost>>,
    /// The content of the file, if it is in memory.
    pub(crate) content: Option<Arc<[u8]>>,
}

impl ResponseBuilder<'_> {
    /// Responds with a file, or with the result of the request's conditions and ranges.
    pub(crate) fn file(&self, file: &Arc<OpenFile>) -> Response {
        let Some(request) = self.request else {
            return self.text(Status::InternalServerError, "");
        };
        let now = http_clock::now().unix;
        let validators = file.validators(now);
        match condition::evaluate(request, &validators) {
            Precondition::PreconditionFailed => {
                return self.text(Status::PreconditionFailed, "the file is not the one you know");
            }
            Precondition::NotModified => return self.not_modified(file, now),
            Precondition::Proceed => {}
        }
        match selection(request, &validators, file.size()) {
            Selection::Whole => self.whole(file, now),
            Selection::One(range) => self.part(file, range, now),
            Selection::Many(ranges) => {
                self.parts(file, &ranges, now).unwrap_or_else(|| self.whole(file, now))
            }
            Selection::Unsatisfiable => self.unsatisfiable(file.size()),
        }
    }

    /// Starts a listing: its length is unknown, and its pieces are appended to the stream.
    pub(crate) fn listing(&self, content_type: &'static str) -> Response {
        let (mut head, hidden) = self.begin_without_file(Status::Ok);
        head.field("Content-Type", content_type).field("Vary", "Accept");
        if !hidden.cache_control {
            head.field("Cache-Control", "no-cache");
        }
        head.length(BodyLength::Streamed);
        self.end(head, Body::Stream, None)
    }

    /// Redirects to the same name with a slash behind it.
    ///
    /// 308 keeps the method and tells robots which of the two names to keep, but caches may store it
    /// for any time (RFC 9110 §15.4.9), and the directory may become a file: so `no-cache` has them
    /// revalidate each time.
    pub(crate) fn redirect(&self, location: Vec<u8>) -> Response {
        self.text_with(Status::PermanentRedirect, "it is a directory", |head, hidden| {
            head.field("Location", location);
            if !hidden.cache_control {
                head.field("Cache-Control", "no-cache");
            }
        })
    }

    /// Redirects to the same resource on another origin.
    pub(crate) fn redirect_to(&self, location: Vec<u8>) -> Response {
        self.text_with(Status::PermanentRedirect, "it is served by HTTPS", |head, _| {
            head.field("Location", location);
        })
    }

    /// Redirects by a rule.
    pub(crate) fn redirect_by_rule(&self, status: Status, location: Vec<u8>) -> Response {
        self.text_with(status, "it is elsewhere", |head, _| {
            head.field("Location", location);
        })
    }

    /// Responds to an error with a file: neither conditions nor ranges apply.
    pub(crate) fn error_page(&self, status: Status, file: &Arc<OpenFile>) -> Response {
        let (mut head, _) = self.begin_without_file(status);
        if status == Status::Unauthorized {
            head.field("WWW-Authenticate", CHALLENGE);
        }
        let part = PreparedPart { from: PreparedStart::Type, last_modified: false };
        for (name, value) in file.prepared().fields(part) {
            match name {
                "Content-Type" => head.field("Content-Type", value),
                "Content-Encoding" => head.field("Content-Encoding", value),
                _ => &mut head,
            };
        }
        head.field("Vary", "Accept-Encoding").length(BodyLength::Known(file.size()));
        let whole = [ByteRange { start: 0, length: file.size() }];
        let body = Body::File(self.file_part(file, 0, file.size(), http_clock::now().unix));
        self.end(head, body, Some((file, &whole)))
    }

    /// Responds to OPTIONS with the allowed methods.
    pub(crate) fn options(&self) -> Response {
        let (mut head, _) = self.begin_without_file(Status::NoContent);
        head.field("Allow", ALLOWED_METHODS);
        let cors = self.rules.cors().zip(self.request);
        if let Some(names) = cors.and_then(|(cors, request)| cors.preflight(request)) {
            head.field("Access-Control-Allow-Methods", ALLOWED_METHODS)
                .field("Access-Control-Max-Age", PREFLIGHT_SECONDS)
                .field("Vary", "Access-Control-Request-Headers");
            if !names.is_empty() {
                head.field("Access-Control-Allow-Headers", names);
            }
        }
        self.end(head, Body::Empty, None)
    }

    /// Rejects a known method that is not allowed for files.
    pub(crate) fn not_allowed(&self) -> Response {
        self.text_with(Status::MethodNotAllowed, "files can only be fetched here", |head, _| {
            head.field("Allow", ALLOWED_METHODS);
        })
    }

    /// Responds with the answer of a challenge (RFC 8555 §8.3).
    #[cfg(feature = "tls")]
    pub(crate) fn key_authorization(&self, answer: &str) -> Response {
        self.fixed(Status::Ok, "application/octet-stream", answer)
    }

    /// Responds with a text that no cache keeps and no rule changes.
    pub(crate) fn fixed(&self, status: Status, content_type: &'static str, text: &str) -> Response {
        let mut head = self.begin(status, HiddenFields::default());
        head.field("Content-Type", content_type)
            .field("Cache-Control", "no-store")
            .length(BodyLength::Known(text.len() as u64));
        self.end(head, Body::Bytes(text.as_bytes().to_vec()), None)
    }

    /// Responds with a status and a sentence.
    pub(crate) fn text(&self, status: Status, reason: &str) -> Response {
        self.text_with(status, reason, |_, _| {})
    }

    /// Responds with 503 (RFC 9110 §15.6.4) and the time after which to try again.
    pub(crate) fn unavailable(&self, reason: &str, retry_after: Duration) -> Response {
        self.retry_later(Status::ServiceUnavailable, reason, retry_after)
    }

    /// Responds with a status and the time after which to try again (RFC 9110 §10.2.3).
    pub(crate) fn retry_later(
        &self,
        status: Status,
        reason: &str,
        retry_after: Duration,
    ) -> Response {
        let seconds = retry_after.as_millis().div_ceil(1000).max(1);
        self.text_with(status, reason, |head, _| {
            head.field("Retry-After", u64::try_from(seconds).unwrap_or(u64::MAX));
        })
    }

    fn text_with(
        &self,
        status: Status,
        reason: &str,
        fields: impl FnOnce(&mut ResponseHead, HiddenFields),
    ) -> Response {
        let (content_type, body) = match (self.rules.kept_error_page(status), reason) {
            (Some(page), _) => (page.content_type.as_bytes(), page.content.clone()),
            (None, "") => (TEXT, format!("{} {}\n", status.code(), status.reason()).into_bytes()),
            (None, reason) => {
                let text = format!("{} {}: {reason}\n", status.code(), status.reason());
                (TEXT, text.into_bytes())
            }
        };
        let (mut head, hidden) = self.begin_without_file(status);
        if status == Status::Unauthorized {
            head.field("WWW-Authenticate", CHALLENGE);
        }
        fields(&mut head, hidden);
        head.field("Content-Type", content_type).length(BodyLength::Known(body.len() as u64));
        self.end(head, Body::Bytes(body), None)
    }

    fn whole(&self, file: &Arc<OpenFile>, now: u64) -> Response {
        let mut head = self.begin(Status::Ok, file.hidden());
        head.length(BodyLength::Known(file.size()));
        describe(&mut head, file, PreparedStart::Type, now);
        let body = Body::File(self.file_part(file, 0, file.size(), now));
        self.end(head, body, Some((file, &[ByteRange { start: 0, length: file.size() }])))
    }

    fn part(&self, file: &Arc<OpenFile>, part: ByteRange, now: u64) -> Response {
        let mut head = self.begin(Status::PartialContent, file.hidden());
        let mut content_range = Vec::with_capacity(64);
        multipart::content_range(part, file.size(), &mut content_range);
        head.length(BodyLength::Known(part.length)).field("Content-Range", content_range);
        describe(&mut head, file, PreparedStart::Type, now);
        let body = Body::File(self.file_part(file, part.start, part.length, now));
        self.end(head, body, Some((file, &[part])))
    }

    /// Responds with several ranges, each a transfer of its own; `None` if that would be longer than
    /// the file.
    fn parts(&self, file: &Arc<OpenFile>, ranges: &[ByteRange], now: u64) -> Option<Response> {
        let boundary = boundary();
        let content_type = file.prepared().content_type();
        let multipart = Multipart::new(ranges, file.size(), content_type, &boundary);
        if multipart.length() > file.size() {
            return None;
        }
        let mut head = self.begin(Status::PartialContent, file.hidden());
        let mut content_type = Vec::with_capacity(80);
        multipart::content_type(&boundary, &mut content_type);
        head.length(BodyLength::Known(multipart.length())).field("Content-Type", content_type);
        describe(&mut head, file, PreparedStart::Coding, now);
        let (parts, tail) = multipart.into_parts();
        let mut body = Vec::with_capacity(2 * parts.len() + 1);
        for (part_head, range) in parts {
            body.push(BodyPart::Bytes(part_head));
            body.push(BodyPart::File(self.file_part(file, range.start, range.length, now)));
        }
        body.push(BodyPart::Bytes(tail));
        Some(self.end(head, Body::Parts(body), Some((file, ranges))))
    }

    fn unsatisfiable(&self, size: u64) -> Response {
        let mut content_range = Vec::with_capacity(32);
        multipart::content_range_unsatisfied(size, &mut content_range);
        self.text_with(Status::RangeNotSatisfiable, "the file is shorter", |head, _| {
            head.field("Content-Range", content_range);
        })
    }

    fn not_modified(&self, file: &OpenFile, now: u64) -> Response {
        let mut head = self.begin(Status::NotModified, file.hidden());
        head.prepared_fields(file.prepared(), file.part(PreparedStart::Validators, now))
            .field("Vary", "Accept-Encoding");
        self.end(head, Body::Empty, None)
    }

    /// Starts a head with the fields that every response has.
    fn begin(&self, status: Status, hidden: HiddenFields) -> ResponseHead {
        let mut head = ResponseHead::new(status);
        if !hidden.server {
            head.field("Server", "karez");
        }
        head.field("Date", &http_clock::now().http);
        if !hidden.no_sniff {
            head.field("X-Content-Type-Options", "nosniff");
        }
        if let Some(origin) = self.rules.cors().and_then(|cors| cors.origin(self.request?)) {
            head.field("Access-Control-Allow-Origin", origin.as_bytes());
        }
        head
    }

    /// Starts the head of a response that is no file, with the fields that rules give it. Returns those of
    /// the server that it must not have.
    fn begin_without_file(&self, status: Status) -> (ResponseHead, HiddenFields) {
        let Some(fields) = self.rules.fields(self.request, status) else {
            return (self.begin(status, HiddenFields::default()), HiddenFields::default());
        };
        let mut head = self.begin(status, fields.hidden);
        if let Some(block) = &fields.block {
            let all = PreparedPart { from: PreparedStart::Type, last_modified: false };
            head.prepared_fields(block, all);
        }
        (head, fields.hidden)
    }

    /// Ends a response. With `--explain` its head gets a `Server-Timing` field, which covers these
    /// parts of a file if the body is sent at all.
    fn end(
        &self,
        mut head: ResponseHead,
        body: Body<FilePart>,
        parts: Option<(&Arc<OpenFile>, &[ByteRange])>,
    ) -> Response {
        if let Some(cost) = &self.cost {
            let parts = parts.filter(|_| self.sends_body());
            let plan = |model, sealed| {
                let plan = parts.and_then(|(file, parts)| self.body_plan(model, file, parts));
                plan.map(|plan| if sealed { BodyPlan { via: Via::Copy, ..plan } } else { plan })
            };
            server_timing::push_field(&mut head, &mut cost.borrow_mut(), plan);
        }
        Response { head, body }
    }

    /// Returns a part of a file, whose transfer begins in this second.
    pub(crate) fn file_part(
        &self,
        file: &Arc<OpenFile>,
        start: u64,
        length: u64,
        now: u64,
    ) -> FilePart {
        let via = self.via_for(file, now);
        let version = file.version().filter(|_| self.torn == Torn::Abort);
        let (file, content) = (Arc::clone(file), self.content.clone());
        FilePart { file, start, length, via, version, content }
    }

    /// Returns the via of a file. `auto` is `copy` for one that was written a moment ago, and may be written
    /// again: no write reaches a copy, but pages that are passed by reference change until the client has
    /// them.
    fn via_for(&self, file: &OpenFile, now: u64) -> Via {
        match self.via {
            Via::Auto if self.torn == Torn::Abort && file.is_recent(now) => Via::Copy,
            via => via,
        }
    }
}

fn selection(request: &Request, validators: &Validators<'_>, size: u64) -> Selection {
    match request.value(Field::Range) {
        // Ranges are defined for GET alone (RFC 9110 §14.2).
        Some(value)
            if request.method() == Method::Get && condition::if_range(request, validators) =>
        {
            range::select(value, size)
        }
        _ => Selection::Whole,
    }
}

/// Appends the fields of a file, and those of every response with content of a file.
fn describe(head: &mut ResponseHead, file: &OpenFile, from: PreparedStart, now: u64) {
    head.prepared_fields(file.prepared(), file.part(from, now))
        .field("Accept-Ranges", "bytes")
        .field("Vary", "Accept-Encoding");
}

/// The media type of a sentence.
const TEXT: &[u8] = b"text/plain; charset=utf-8";

/// How long a browser may keep the answer to a preflight request. Chromium keeps none longer than two hours.
const PREFLIGHT_SECONDS: u64 = 7200;

/// Returns a delimiter that a file contains with a probability of 2⁻¹²⁸ (RFC 2046 §5.1.1).
fn boundary() -> String {
    let random = || RandomState::new().hash_one(0);
    format!("{:016x}{:016x}", random(), random())
}
