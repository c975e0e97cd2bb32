//! A request head as it was received: one buffer and offsets into it (RFC 9112 §3, §5).
//!
//! Fields are not copied. The offset of the first line of each known field is stored; further lines of
//! the same name are found by walking on from there. A protocol whose heads are no text, such as HTTP/2,
//! writes the same buffer by [`Request::assemble`].
//!
//! # Limitations
//!
//! Offsets have 16 bits, so a head has at most [`LARGEST_HEAD`](crate::LARGEST_HEAD) bytes.

use std::fmt;

use crate::error::{ParseError, RequestError};
use crate::field::{COUNT, Field};
use crate::grammar::{DEL, is_text, is_token};
use crate::h1::field_section::FieldSection;
use crate::h1::request_scan::RequestScan;
use crate::limits::LARGEST_HEAD;
use crate::method::Method;
use crate::status::Status;
use crate::version::Version;

/// A valid request head.
#[derive(Clone)]
pub struct Request {
    /// `GET /a HTTP/1.1`, the field lines and the empty line, each with its CRLF.
    head: Vec<u8>,
    /// Where the value of the first line of each known field begins; 0: there is none.
    first: [u16; COUNT],
    target: (u16, u16),
    /// Where the field lines begin.
    fields: u16,
    method: Method,
    version: Version,
    persistent: bool,
    expects_continue: bool,
}

impl Request {
    pub(crate) fn new(head: Vec<u8>, scan: &RequestScan, section: &FieldSection) -> Self {
        Self {
            first: section.first,
            target: (short(scan.target.start), short(scan.target.end)),
            fields: short(scan.fields),
            method: Method::from_name(&head[..scan.method_end]),
            version: scan.version,
            persistent: section.keep_alive,
            expects_continue: section.continues,
            head,
        }
    }

    /// Ends with the request, and gives its buffer to the [pool](crate::buffers) of this thread.
    pub fn recycle(self) {
        crate::buffers::give_back(self.head);
    }

    /// Returns a request whose text was written and checked by HTTP/2: the first lines of known fields,
    /// and where the method, the target and the request line end.
    pub(crate) fn of_lines(
        head: Vec<u8>,
        first: [u16; COUNT],
        (method_end, target_end, fields): (u16, u16, u16),
    ) -> Self {
        let mut request = Self {
            first,
            target: (method_end + 1, target_end),
            fields,
            method: Method::from_name(&head[..usize::from(method_end)]),
            version: Version::Http2,
            persistent: true,
            expects_continue: false,
            head,
        };
        let expect = request.value(Field::Expect);
        request.expects_continue =
            expect.is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"));
        request
    }

    /// Returns the request that a protocol received as single fields.
    ///
    /// ```
    /// use karez_http::{Field, Method, Request, Version};
    ///
    /// let fields = [(&b"host"[..], &b"example.org"[..])];
    /// let request = Request::assemble(b"GET", b"/a", Version::Http2, fields)?;
    /// assert_eq!(request.method(), Method::Get);
    /// assert_eq!(request.value(Field::Host), Some(&b"example.org"[..]));
    /// assert_eq!(request.request_line(), b"GET /a HTTP/2.0");
    /// # Ok::<(), karez_http::RequestError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If a part is not allowed by the grammar of HTTP/1.1, into which a server might translate it
    /// (RFC 9113 §8.2.1, §10.3), or if the head is too large. The semantics of fields are not checked.
    pub fn assemble<'a>(
        method: &[u8],
        target: &[u8],
        version: Version,
        fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<Self, RequestError> {
        let mut head = [method, b" ", target, b" ", version.as_str().as_bytes(), b"\r\n"].concat();
        let error = |error: ParseError, head: &[u8]| Err(error.in_head(head));
        if method.is_empty() || !method.iter().copied().all(is_token) {
            return error(ParseError::bad("malformed method"), &head);
        }
        if target.is_empty() || target.iter().any(|byte| *byte <= b' ' || *byte == DEL) {
            return error(ParseError::bad("malformed target"), &head);
        }
        let (lines, mut first) = (head.len(), [0; COUNT]);
        for (name, value) in fields {
            if name.is_empty() || !name.iter().copied().all(is_token) {
                return error(ParseError::bad("malformed field name"), &head);
            }
            if !value.iter().copied().all(is_text) {
                return error(ParseError::bad("malformed field value"), &head);
            }
            head.extend_from_slice(name);
            head.extend_from_slice(b": ");
            let place = Field::from_name(name).map(|field| &mut first[field.index()]);
            if let Some(place) = place.filter(|place| **place == 0) {
                *place = short(head.len());
            }
            head.extend_from_slice(value);
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        if head.len() > LARGEST_HEAD {
            let too_large = ParseError::new(Status::FieldsTooLarge, "the head is too large");
            return error(too_large, &head);
        }
        let start = method.len() + 1;
        Ok(Self {
            head,
            first,
            target: (short(start), short(start + target.len())),
            fields: short(lines),
            method: Method::from_name(method),
            version,
            persistent: true,
            expects_continue: false,
        })
    }

    /// Returns the method (RFC 9110 §9).
    pub fn method(&self) -> Method {
        self.method
    }

    /// Returns the request target as it was sent (RFC 9112 §3.2); see [`crate::target::parse`].
    pub fn target(&self) -> &[u8] {
        &self.head[usize::from(self.target.0)..usize::from(self.target.1)]
    }

    /// Returns the version (RFC 9110 §2.5).
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns whether the client leaves the connection open for another request (RFC 9112 §9.3).
    pub fn persistent(&self) -> bool {
        self.persistent
    }

    /// Returns whether the client waits for `100 Continue` before it sends a body (RFC 9110 §10.1.1).
    pub fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// Returns the request line without its CRLF (RFC 9112 §3), for a log. Raw bytes.
    pub fn request_line(&self) -> &[u8] {
        &self.head[..usize::from(self.fields).saturating_sub(2)]
    }

    /// Returns the value of the first line of `field`, without the white space around it
    /// (RFC 9112 §5.1).
    pub fn value(&self, field: Field) -> Option<&[u8]> {
        match self.first[field.index()] {
            0 => None,
            offset => Some(line(&self.head, usize::from(offset)).0),
        }
    }

    /// Returns the values of all lines of `field` in their order; together they are one list
    /// (RFC 9110 §5.3).
    pub fn values(&self, field: Field) -> Values<'_> {
        Values { head: &self.head, field, at: usize::from(self.first[field.index()]) }
    }

    /// Returns every field line in order, as name and value (RFC 9112 §5): known and unknown fields.
    pub fn fields(&self) -> Fields<'_> {
        Fields { head: &self.head, at: usize::from(self.fields) }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("line", &format_args!("\"{}\"", self.request_line().escape_ascii()))
            .field("persistent", &self.persistent)
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
        let name = self.field.name().as_bytes();
        let mut rest = Fields { head: self.head, at: after };
        self.at = 0;
        while let Some((next, begin)) = rest.name() {
            if next.eq_ignore_ascii_case(name) {
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
    /// Returns the name on this line, and where its value begins. `None` at the empty line.
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

/// Returns the value from `begin` to the end of its line, and where the next line begins.
fn line(head: &[u8], begin: usize) -> (&[u8], usize) {
    let rest = &head[begin..];
    let length = memchr::memchr(b'\r', rest).unwrap_or(rest.len());
    (rest[..length].trim_ascii(), begin + length + 2)
}

/// An offset into a head, which has no more than `LARGEST_HEAD` bytes.
fn short(offset: usize) -> u16 {
    u16::try_from(offset).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs<'a> = &'a [(&'a [u8], &'a [u8])];

    fn assembled(method: &[u8], target: &[u8], fields: Pairs<'_>) -> Result<Request, RequestError> {
        Request::assemble(method, target, Version::Http2, fields.iter().copied())
    }

    #[test]
    fn assembled_requests_have_all_their_fields() {
        let fields: Pairs<'_> =
            &[(b"accept", b"x"), (b"x-a", b""), (b"accept", b" y "), (b"host", b"h")];
        let request = assembled(b"HEAD", b"/a?b", fields).unwrap();
        assert_eq!((request.method(), request.target()), (Method::Head, &b"/a?b"[..]));
        assert!(request.persistent() && !request.expects_continue());
        assert!(request.values(Field::Accept).eq([&b"x"[..], b"y"]));
        assert_eq!(request.value(Field::Host), Some(&b"h"[..]));
        assert_eq!(request.value(Field::Range), None);
        assert_eq!(request.fields().count(), 4);
        assert_eq!(assembled(b"GET", b"/", &[]).unwrap().fields().count(), 0);
    }

    #[test]
    fn assembled_requests_cannot_smuggle() {
        let reason = |method: &[u8], target: &[u8], name: &[u8], value: &[u8]| {
            assembled(method, target, &[(name, value)]).unwrap_err().reason
        };
        assert_eq!(reason(b"GE T", b"/", b"a", b"b"), "malformed method");
        assert_eq!(reason(b"", b"/", b"a", b"b"), "malformed method");
        assert_eq!(reason(b"GET", b"/ HTTP/1.1\r\n", b"a", b"b"), "malformed target");
        assert_eq!(reason(b"GET", b"", b"a", b"b"), "malformed target");
        assert_eq!(reason(b"GET", b"/", b"a: x\r\nb", b"b"), "malformed field name");
        assert_eq!(reason(b"GET", b"/", b":path", b"b"), "malformed field name");
        assert_eq!(reason(b"GET", b"/", b"a", b"b\r\nc: d"), "malformed field value");
        assert_eq!(reason(b"GET", b"/", b"a", &[b'x'; LARGEST_HEAD]), "the head is too large");
        let error = assembled(b"GET", &[b'x'; LARGEST_HEAD], &[]).unwrap_err();
        assert_eq!(error.status, Status::FieldsTooLarge);
    }
}
