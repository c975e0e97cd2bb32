//! Several ranges in one answer: `multipart/byteranges` (RFC 9110 §14.6, RFC 2046 §5.1.1).
//!
//! Only the framing between the parts is made here; the parts themselves are moved from file to socket.
//! All framing is made before the first byte is sent, since Content-Length must be known.

use crate::decimal;
use crate::field_value::push_value;
use crate::range::ByteRange;

/// The framing of the parts of one response.
#[derive(Clone, Debug)]
pub struct Multipart {
    parts: Vec<(Vec<u8>, ByteRange)>,
    tail: Vec<u8>,
    length: u64,
}

impl Multipart {
    /// Frames `ranges` of a file of `size` bytes and of the given type.
    ///
    /// The caller chooses a `boundary` that is unlikely in the file: 1 to 70 alphanumeric bytes or
    /// any of `'+_-.` (RFC 2046 §5.1.1). It is used as it is, here and in the Content-Type of the
    /// answer, see [`content_type`].
    pub fn new(ranges: &[ByteRange], size: u64, content_type: &str, boundary: &str) -> Self {
        let mut delimiter = Vec::with_capacity(boundary.len() + 4);
        delimiter.extend_from_slice(b"\r\n--");
        push_value(boundary.as_bytes(), &mut delimiter);

        let mut length = 0_u64;
        let mut parts = Vec::with_capacity(ranges.len());
        for range in ranges {
            let mut head = Vec::with_capacity(delimiter.len() + content_type.len() + 112);
            // Only between two parts does the line break belong to the delimiter.
            let delimiter = if parts.is_empty() { &delimiter[2..] } else { &delimiter };
            head.extend_from_slice(delimiter);
            head.extend_from_slice(b"\r\nContent-Type: ");
            push_value(content_type.as_bytes(), &mut head);
            head.extend_from_slice(b"\r\nContent-Range: ");
            content_range(*range, size, &mut head);
            head.extend_from_slice(b"\r\n\r\n");
            length = length.saturating_add(head.len() as u64).saturating_add(range.length);
            parts.push((head, *range));
        }
        let mut tail = delimiter;
        tail.extend_from_slice(b"--\r\n");
        length = length.saturating_add(tail.len() as u64);
        Self { parts, tail, length }
    }

    /// Returns each part: the framing before it, and the range of the file.
    pub fn parts(&self) -> &[(Vec<u8>, ByteRange)] {
        &self.parts
    }

    /// Returns the framing after the last part.
    pub fn tail(&self) -> &[u8] {
        &self.tail
    }

    /// Returns the Content-Length of the response. If it is longer than the file, send the file.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Returns the parts and the tail, to be sent in this order.
    pub fn into_parts(self) -> (Vec<(Vec<u8>, ByteRange)>, Vec<u8>) {
        (self.parts, self.tail)
    }
}

/// Appends the Content-Type of an answer in parts (RFC 9110 §14.6).
pub fn content_type(boundary: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"multipart/byteranges; boundary=");
    push_value(boundary.as_bytes(), out);
}

/// Appends the value of Content-Range: `bytes 0-4/10` (RFC 9110 §14.4).
pub fn content_range(range: ByteRange, size: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"bytes ");
    decimal::push(range.start, out);
    out.push(b'-');
    decimal::push(range.last(), out);
    out.push(b'/');
    decimal::push(size, out);
}

/// Appends the value of Content-Range that goes with 416: `bytes */10` (RFC 9110 §15.5.17).
pub fn content_range_unsatisfied(size: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"bytes */");
    decimal::push(size, out);
}

#[cfg(test)]
mod tests {
    use super::{Multipart, content_range_unsatisfied, content_type};
    use crate::range::ByteRange;

    #[test]
    fn frames_two_parts() {
        let ranges = [ByteRange { start: 0, length: 2 }, ByteRange { start: 7, length: 3 }];
        let multipart = Multipart::new(&ranges, 10, "text/plain", "cut");
        let mut body = Vec::new();
        for (head, range) in multipart.parts() {
            body.extend_from_slice(head);
            let bytes = (b'0'..=b'9').zip(0_u64..);
            body.extend(
                bytes.filter(|(_, at)| (range.start..range.end()).contains(at)).map(|b| b.0),
            );
        }
        body.extend_from_slice(multipart.tail());
        assert_eq!(
            String::from_utf8_lossy(&body),
            "--cut\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\n01\
             \r\n--cut\r\nContent-Type: text/plain\r\nContent-Range: bytes 7-9/10\r\n\r\n789\
             \r\n--cut--\r\n"
        );
        assert_eq!(multipart.length(), body.len() as u64);
    }

    #[test]
    fn values() {
        let mut out = Vec::new();
        content_range_unsatisfied(10, &mut out);
        assert_eq!(out, b"bytes */10");
        out.clear();
        content_type("cut", &mut out);
        assert_eq!(out, b"multipart/byteranges; boundary=cut");
    }
}
