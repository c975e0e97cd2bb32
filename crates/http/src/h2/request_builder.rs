//! Decoded fields to the head of a request (RFC 9113 §8.1 to §8.3).
//!
//! All of a block is taken even where its first field is malformed: the decoder's table has to follow
//! the peer's. Nothing beyond the limits is stored meanwhile.
//!
//! # Limitations
//!
//! Stricter than RFC 9113: a name is a token, a value has no control character but tab, and a second
//! `content-length` is malformed even if it is equal, all as in HTTP/1.1. Extended CONNECT (RFC 8441)
//! is not supported. Trailers are checked and dropped.

use std::ops::Range;

use super::error::ConnectionError;
use super::hpack::CompressionError;
use super::limits::ConnectionLimits;
use super::priority::Priority;
use crate::authority;
use crate::decimal;
use crate::error::{ParseError, RequestError};
use crate::field::{COUNT, Field};
use crate::grammar::{DEL, is_text, is_token};
use crate::request::Request;
use crate::status::Status;

/// Takes the fields of a block and makes a head of them.
#[derive(Debug)]
pub(super) struct RequestBuilder {
    limits: Sizes,
    /// The values of the pseudo-header fields, one behind the other.
    pseudo: Vec<u8>,
    places: [Option<Range<usize>>; 4],
    text: Vec<u8>,
    cookies: Vec<u8>,
    head: Offsets,
    content_length: Option<u64>,
    priority: Option<Priority>,
    has_host: bool,
    rejection: Option<(Status, &'static str)>,
    malformed: Option<&'static str>,
}

/// Counters of fields, and their limits.
#[derive(Debug)]
struct Sizes {
    list: usize,
    max_list: usize,
    fields: usize,
    max_fields: usize,
    max_target: usize,
}

#[derive(Debug, Default)]
struct Offsets {
    first: [u16; COUNT],
    method_end: u16,
    target_end: u16,
    /// 0 before the first field that is not a pseudo-header field.
    fields: u16,
}

/// The result of a block.
#[derive(Debug)]
pub(super) enum Built {
    Request {
        head: Request,
        content_length: Option<u64>,
        priority: Option<Priority>,
    },
    /// An answer is due: the request is well-formed, but too large or without a host.
    Rejected(RequestError),
    /// The stream is reset with `PROTOCOL_ERROR` (RFC 9113 §8.1.1). The error is for the log.
    Malformed(RequestError),
}

impl From<CompressionError> for ConnectionError {
    fn from(error: CompressionError) -> Self {
        Self::new(super::error::ErrorCode::COMPRESSION_ERROR, error.0)
    }
}

const METHOD: usize = 0;
const SCHEME: usize = 1;
const AUTHORITY: usize = 2;
const PATH: usize = 3;

impl RequestBuilder {
    pub(super) fn new(limits: &ConnectionLimits) -> Self {
        let limits = Sizes {
            list: 0,
            max_list: limits.header_list,
            fields: 0,
            max_fields: limits.fields,
            max_target: limits.target,
        };
        Self {
            limits,
            pseudo: Vec::new(),
            places: [const { None }; 4],
            text: Vec::new(),
            cookies: Vec::new(),
            head: Offsets::default(),
            content_length: None,
            priority: None,
            has_host: false,
            rejection: None,
            malformed: None,
        }
    }

    /// Takes a field.
    ///
    /// # Errors
    ///
    /// The list is so large that it is taken for an attack.
    pub(super) fn push(&mut self, name: &[u8], value: &[u8]) -> Result<(), ConnectionError> {
        if !self.limits.count(name, value)? {
            self.reject(Status::FieldsTooLarge, "the fields are too large");
        }
        if self.rejection.is_some() || self.malformed.is_some() {
            return Ok(());
        }
        let taken = match name.split_first() {
            Some((b':', name)) => self.pseudo_header(name, value),
            _ => self.field(name, value),
        };
        self.malformed = taken.err();
        Ok(())
    }

    fn reject(&mut self, status: Status, reason: &'static str) {
        self.rejection = self.rejection.or(Some((status, reason)));
    }

    fn pseudo_header(&mut self, name: &[u8], value: &[u8]) -> Result<(), &'static str> {
        if self.head.fields > 0 {
            return Err("a pseudo-header field behind a field");
        }
        let (place, valid) = match name {
            b"method" => (METHOD, !value.is_empty() && value.iter().all(|b| is_token(*b))),
            b"scheme" => (SCHEME, !value.is_empty() && value.iter().all(|b| is_token(*b))),
            b"authority" => (AUTHORITY, authority::is_valid(value)),
            b"path" => (PATH, !value.is_empty() && value.iter().all(|b| *b > b' ' && *b != DEL)),
            _ => return Err("an unknown pseudo-header field"),
        };
        if self.places[place].is_some() {
            return Err("a pseudo-header field twice");
        }
        if !valid {
            return Err("a malformed pseudo-header field");
        }
        if place == PATH && value.len() > self.limits.max_target {
            self.reject(Status::UriTooLong, "the target is too long");
        }
        let start = self.pseudo.len();
        self.pseudo.extend_from_slice(value);
        self.places[place] = Some(start..self.pseudo.len());
        Ok(())
    }

    fn get(&self, place: usize) -> Option<&[u8]> {
        self.pseudo.get(self.places[place].clone()?)
    }

    /// Writes the request line and the `host` line: no pseudo-header field may follow.
    fn begin_fields(&mut self) {
        if self.head.fields > 0 {
            return;
        }
        let mut text = Vec::with_capacity(INITIAL_CAPACITY);
        let target = if self.is_connect() { AUTHORITY } else { PATH };
        text.extend_from_slice(self.get(METHOD).unwrap_or_default());
        self.head.method_end = offset(text.len());
        text.push(b' ');
        text.extend_from_slice(self.get(target).unwrap_or_default());
        self.head.target_end = offset(text.len());
        text.extend_from_slice(b" HTTP/2.0\r\n");
        self.head.fields = offset(text.len());
        self.text = text;
        if let Some(range) = self.places[AUTHORITY].clone() {
            push_line(&mut self.text, &mut self.head, b"host", &self.pseudo[range]);
        }
    }

    fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), &'static str> {
        self.begin_fields();
        check_field(name, value)?;
        match name {
            b"host" => return self.host(value),
            b"cookie" => {
                // RFC 9113 §8.2.3: crumbs are joined.
                if !self.cookies.is_empty() {
                    self.cookies.extend_from_slice(b"; ");
                }
                self.cookies.extend_from_slice(value);
                return Ok(());
            }
            b"content-length" => {
                let length = decimal::parse(value).ok_or("a malformed content-length")?;
                if self.content_length.replace(length).is_some() {
                    return Err("two content-length fields");
                }
            }
            b"priority" => {
                let merged = self.priority.unwrap_or_default().updated(value);
                self.priority = Some(merged);
            }
            _ => {}
        }
        push_line(&mut self.text, &mut self.head, name, value);
        Ok(())
    }

    fn host(&mut self, value: &[u8]) -> Result<(), &'static str> {
        if std::mem::replace(&mut self.has_host, true) {
            return Err("two host fields");
        }
        match self.get(AUTHORITY) {
            Some(authority) if authority.eq_ignore_ascii_case(value) => Ok(()),
            Some(_) => Err("a host that differs from the authority"),
            None if value.is_empty() || authority::is_valid(value) => {
                push_line(&mut self.text, &mut self.head, b"host", value);
                Ok(())
            }
            None => Err("a malformed host"),
        }
    }

    fn is_connect(&self) -> bool {
        self.get(METHOD) == Some(b"CONNECT")
    }

    /// Checks that the pseudo-header fields are complete (RFC 9113 §8.3.1, §8.5).
    fn check(&self) -> Result<(), &'static str> {
        let method = self.get(METHOD).ok_or("no method")?;
        if self.is_connect() {
            let alone = self.get(SCHEME).is_none() && self.get(PATH).is_none();
            let complete = alone && self.get(AUTHORITY).is_some();
            return if complete { Ok(()) } else { Err("a malformed CONNECT") };
        }
        self.get(SCHEME).ok_or("no scheme")?;
        match self.get(PATH).ok_or("no path")? {
            [b'/', ..] => Ok(()),
            b"*" if method == b"OPTIONS" => Ok(()),
            _ => Err("a path without a slash in front"),
        }
    }

    /// Ends the block.
    pub(super) fn finish(mut self) -> Built {
        if self.malformed.is_none() && self.rejection.is_none() {
            self.malformed = self.check().err();
            if self.get(AUTHORITY).is_none() && !self.has_host {
                self.reject(Status::BadRequest, "no authority and no host");
            }
        }
        self.begin_fields();
        let Self { mut text, mut head, cookies, .. } = self;
        if let Some(malformed) = self.malformed {
            return Built::Malformed(ParseError::bad(malformed).in_head(&text));
        }
        if let Some((status, reason)) = self.rejection {
            text.truncate(usize::from(head.fields).saturating_sub(2).min(MAX_LOGGED));
            return Built::Rejected(RequestError { status, reason, request_line: text });
        }
        if !cookies.is_empty() {
            push_line(&mut text, &mut head, b"cookie", &cookies);
        }
        text.extend_from_slice(b"\r\n");
        let Offsets { first, method_end, target_end, fields } = head;
        let head = Request::of_lines(text, first, (method_end, target_end, fields));
        Built::Request { head, content_length: self.content_length, priority: self.priority }
    }
}

impl Sizes {
    /// Counts a field as RFC 9113 §6.5.2 does. Returns whether all fields together are small enough.
    fn count(&mut self, name: &[u8], value: &[u8]) -> Result<bool, ConnectionError> {
        self.list += name.len() + value.len() + 32;
        self.fields += 1;
        if self.list > self.max_list.saturating_mul(BOMB) {
            return Err(ConnectionError::calm("a field block expands too much"));
        }
        Ok(self.list <= self.max_list && self.fields <= self.max_fields)
    }
}

/// Checks the fields of a trailer section (RFC 9113 §8.1), which are dropped.
#[derive(Debug)]
pub(super) struct TrailerCheck {
    limits: Sizes,
    malformed: Option<&'static str>,
}

impl TrailerCheck {
    pub(super) fn new(limits: &ConnectionLimits) -> Self {
        Self { limits: RequestBuilder::new(limits).limits, malformed: None }
    }

    pub(super) fn push(&mut self, name: &[u8], value: &[u8]) -> Result<(), ConnectionError> {
        if !self.limits.count(name, value)? {
            self.malformed = Some("the trailers are too large");
        } else if let Err(malformed) = check_field(name, value) {
            self.malformed = Some(malformed);
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Option<&'static str> {
        self.malformed
    }
}

/// Checks a field that is no pseudo-header field (RFC 9113 §8.2.1, §8.2.2).
fn check_field(name: &[u8], value: &[u8]) -> Result<(), &'static str> {
    if name.is_empty() || !name.iter().all(|b| is_token(*b) && !b.is_ascii_uppercase()) {
        return Err("a malformed field name");
    }
    let blank = |b: Option<&u8>| matches!(b, Some(b' ' | b'\t'));
    if blank(value.first()) || blank(value.last()) || !value.iter().all(|b| is_text(*b)) {
        return Err("a malformed field value");
    }
    match name {
        b"connection" | b"proxy-connection" | b"keep-alive" | b"transfer-encoding" | b"upgrade" => {
            Err("a field of HTTP/1.1 connections")
        }
        b"te" if !value.eq_ignore_ascii_case(b"trailers") => Err("te other than trailers"),
        _ => Ok(()),
    }
}

fn push_line(text: &mut Vec<u8>, head: &mut Offsets, name: &[u8], value: &[u8]) {
    text.extend_from_slice(name);
    text.extend_from_slice(b": ");
    if let Some(field) = Field::from_name(name)
        && head.first[field.index()] == 0
    {
        head.first[field.index()] = offset(text.len());
    }
    text.extend_from_slice(value);
    text.extend_from_slice(b"\r\n");
}

/// An offset into a head, which is never longer than `LARGEST_HEAD`.
fn offset(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

/// Most heads are not longer.
const INITIAL_CAPACITY: usize = 512;
/// A list that is so many times larger than allowed is an attack.
const BOMB: usize = 4;
/// How much of a request line is kept for the log.
const MAX_LOGGED: usize = 8 * 1024;

#[cfg(test)]
mod tests;
