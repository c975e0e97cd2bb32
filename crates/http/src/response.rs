//! Response heads and chunks into a buffer (RFC 9112 §4, §5, §7.1).
//!
//! No value can end its line: a CR, LF or NUL becomes a space, so that nothing from a file name or
//! a request can add a field or a second response. Debug builds stop at one, since it is a bug.

use crate::decimal;
use crate::status::Status;

/// Writes one response head; it is complete only after [`Head::end`].
#[derive(Debug)]
pub struct Head<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Head<'a> {
    /// Begins with the status line (RFC 9112 §4).
    pub fn new(out: &'a mut Vec<u8>, status: Status) -> Self {
        out.reserve(USUAL);
        out.extend_from_slice(status.line().as_bytes());
        Self { out }
    }

    /// A field line (RFC 9112 §5).
    pub fn field(&mut self, name: &str, value: &[u8]) -> &mut Self {
        debug_assert!(!breaks_line(value), "a line break in {name}");
        self.name(name);
        push_value(value, self.out);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// A field line with a decimal number.
    pub fn number(&mut self, name: &str, value: u64) -> &mut Self {
        self.name(name);
        decimal::push(value, self.out);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Field lines that were made before, each with its CRLF. They are not looked at.
    pub fn raw(&mut self, lines: &[u8]) -> &mut Self {
        debug_assert!(lines.is_empty() || lines.ends_with(b"\r\n"), "an open line");
        self.out.extend_from_slice(lines);
        self
    }

    /// The empty line that ends the head.
    pub fn end(&mut self) {
        self.out.extend_from_slice(b"\r\n");
    }

    fn name(&mut self, name: &str) {
        debug_assert!(name.bytes().all(crate::head::is_token), "not a field name: {name}");
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b": ");
    }
}

/// Appends `data` as one chunk (RFC 9112 §7.1). Nothing if it is empty: that would end the body.
pub fn chunk(out: &mut Vec<u8>, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    out.reserve(data.len() + 20);
    let digits = (usize::BITS - data.len().leading_zeros()).div_ceil(4);
    out.extend((0..digits).rev().map(|place| DIGITS[data.len() >> (4 * place) & 15]));
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// Appends the end of a chunked body, without trailers (RFC 9112 §7.1).
pub fn last_chunk(out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n\r\n");
}

/// Appends a field value that cannot end its line.
pub(crate) fn push_value(value: &[u8], out: &mut Vec<u8>) {
    let begin = out.len();
    out.extend_from_slice(value);
    if breaks_line(value) {
        let breaks = |b: &&mut u8| matches!(**b, b'\r' | b'\n' | 0);
        out[begin..].iter_mut().filter(breaks).for_each(|b| *b = b' ');
    }
}

fn breaks_line(value: &[u8]) -> bool {
    memchr::memchr3(b'\r', b'\n', 0, value).is_some()
}

/// A head is rarely larger.
const USUAL: usize = 512;
const DIGITS: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::{Head, chunk, last_chunk, push_value};
    use crate::status::Status;

    #[test]
    fn writes_a_head() {
        let mut out = Vec::new();
        Head::new(&mut out, Status::Ok)
            .field("Content-Type", b"text/plain")
            .number("Content-Length", 0)
            .raw(b"X: y\r\n")
            .end();
        assert_eq!(
            out,
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 0\r\nX: y\r\n\r\n"
        );
    }

    #[test]
    fn no_value_ends_its_line() {
        let mut out = Vec::new();
        push_value(b"a\r\nSet-Cookie: b\0", &mut out);
        assert_eq!(out, b"a  Set-Cookie: b ");
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic = "a line break in Location"]
    fn debug_builds_stop_at_a_line_break() {
        Head::new(&mut Vec::new(), Status::PermanentRedirect).field("Location", b"/\r\nX: y");
    }

    #[test]
    fn chunks() {
        let mut out = Vec::new();
        chunk(&mut out, b"hello");
        chunk(&mut out, b"");
        chunk(&mut out, &[b'x'; 0x1a]);
        last_chunk(&mut out);
        let expected = [&b"5\r\nhello\r\n1a\r\n"[..], &[b'x'; 0x1a], b"\r\n0\r\n\r\n"].concat();
        assert_eq!(out, expected);
    }
}
