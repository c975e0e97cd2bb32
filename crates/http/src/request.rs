//! A request as it was received: one buffer and offsets into it (RFC 9112 §3, §5).
//!
//! Fields are not taken apart: the first line of each known field is found by its offset, and
//! further lines of the same name by walking on from there.

use std::fmt;

use crate::field::{COUNT, Field};
use crate::head::{Scan, Version};
use crate::method::Method;
use crate::section::Section;

/// A request whose head was found valid.
#[derive(Clone)]
pub struct Request {
    head: Vec<u8>,
    first: [u16; COUNT],
    target: (u16, u16),
    fields: u16,
    method: Method,
    version: Version,
    keep_alive: bool,
    drained: bool,
}

impl Request {
    pub(crate) fn new(head: Vec<u8>, scan: &Scan, section: &Section) -> Self {
        // The head is no longer than `LARGEST_HEAD`, so nothing is cut off here.
        let short = |offset: usize| u16::try_from(offset).unwrap_or(u16::MAX);
        Self {
            first: section.first,
            target: (short(scan.target.start), short(scan.target.end)),
            fields: short(scan.fields),
            method: Method::of(&head[..scan.method_end]),
            version: scan.version,
            keep_alive: section.keep_alive,
            drained: true,
            head,
        }
    }

    /// The method (RFC 9110 §9).
    pub fn method(&self) -> Method {
        self.method
    }

    /// The request target as it was sent (RFC 9112 §3.2); see [`crate::target::parse`].
    pub fn target(&self) -> &[u8] {
        &self.head[usize::from(self.target.0)..usize::from(self.target.1)]
    }

    /// The version (RFC 9112 §2.3).
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether the connection may carry another request (RFC 9112 §9.3).
    pub fn persistent(&self) -> bool {
        self.keep_alive && self.drained
    }

    /// Whether the body, if any, was read and thrown away. If not, answer and close.
    pub fn drained(&self) -> bool {
        self.drained
    }

    /// The request line without its CRLF (RFC 9112 §3), for a log. Raw bytes.
    pub fn request_line(&self) -> &[u8] {
        &self.head[..usize::from(self.fields).saturating_sub(2)]
    }

    /// The value of the first line of `field`, without the white space around it (RFC 9112 §5.1).
    pub fn value(&self, field: Field) -> Option<&[u8]> {
        match self.first[field.index()] {
            0 => None,
            offset => Some(line(&self.head, usize::from(offset)).0),
        }
    }

    /// The values of all lines of `field` in their order; together they are one list
    /// (RFC 9110 §5.3).
    pub fn values(&self, field: Field) -> Values<'_> {
        Values { head: &self.head, field, at: usize::from(self.first[field.index()]) }
    }

    /// Every field line in order, as name and value (RFC 9112 §5).
    pub fn fields(&self) -> Fields<'_> {
        Fields { head: &self.head, at: usize::from(self.fields) }
    }

    pub(crate) fn leave_undrained(&mut self) {
        self.drained = false;
    }

    pub(crate) fn head(&self) -> &[u8] {
        &self.head
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("line", &format_args!("\"{}\"", self.request_line().escape_ascii()))
            .field("persistent", &self.persistent())
            .field("drained", &self.drained)
            .finish_non_exhaustive()
    }
}

/// The values of one field, see [`Request::values`].
#[derive(Clone, Debug)]
pub struct Values<'a> {
    head: &'a [u8],
    field: Field,
    /// Where the next value begins; 0: there is none.
    at: usize,
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.at == 0 {
            return None;
        }
        let (value, after) = line(self.head, self.at);
        let wanted = self.field.name().as_bytes();
        let mut rest = Fields { head: self.head, at: after };
        self.at = 0;
        while let Some((name, begin)) = rest.name() {
            if name.eq_ignore_ascii_case(wanted) {
                self.at = begin;
                break;
            }
            rest.at = line(self.head, begin).1;
        }
        Some(value)
    }
}

/// The field lines of a request, see [`Request::fields`].
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    head: &'a [u8],
    /// Where the next line begins.
    at: usize,
}

impl<'a> Fields<'a> {
    /// The name on this line, and where its value begins. None at the empty line.
    fn name(&self) -> Option<(&'a [u8], usize)> {
        let rest = self.head.get(self.at..)?;
        let length = rest.iter().position(|b| matches!(b, b':' | b'\r'))?;
        (rest[length] == b':').then(|| (&rest[..length], self.at + length + 1))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, begin) = self.name()?;
        let (value, after) = line(self.head, begin);
        self.at = after;
        Some((name, value))
    }
}

/// The value from `begin` to the end of its line, and where the next line begins.
fn line(head: &[u8], begin: usize) -> (&[u8], usize) {
    let rest = &head[begin..];
    let length = memchr::memchr(b'\r', rest).unwrap_or(rest.len());
    (rest[..length].trim_ascii(), begin + length + 2)
}
