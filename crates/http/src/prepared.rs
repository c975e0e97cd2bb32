//! Fields of a response that describe one file, encoded once and copied into every response.
//!
//! A server that keeps a file open keeps its [`Prepared`] block beside it. The fields stand in one block
//! of lines, ordered so that each kind of response takes one slice: the whole block (200, and 206 with
//! one range), without `Content-Type` (`multipart/byteranges`), the fields of the configuration and the
//! validators alone (304); and each of them with or without `Last-Modified`, which is the last line.
//!
//! # Limitations
//!
//! The copy is encoded for HTTP/1.1. A protocol with another encoding reads the fields by
//! [`Prepared::fields`] and may keep a copy of its own here.

use crate::date;
use crate::encoding::Coding;
use crate::etag::EntityTag;

/// The fields that describe one file: `Content-Type`, `Content-Encoding`, fields of a configuration, `ETag`,
/// `Last-Modified`.
#[derive(Debug)]
pub struct Prepared {
    lines: Box<[u8]>,
    /// Where the lines behind `Content-Type` begin, those behind `Content-Encoding`, and the last.
    type_end: usize,
    coding_end: usize,
    date_start: usize,
}

/// A part of a [`Prepared`] block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreparedPart {
    /// The first field of the part.
    pub from: PreparedStart,
    /// Whether the part includes `Last-Modified`.
    pub last_modified: bool,
}

/// The first field of a [`PreparedPart`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreparedStart {
    /// `Content-Type`: every field.
    Type,
    /// `Content-Encoding`: the part for a body with a type of its own.
    Coding,
    /// The fields of the configuration, and the validators.
    Validators,
}

impl Prepared {
    /// Encodes the fields. `last_modified` is in seconds since 1970.
    pub fn new(
        content_type: &str,
        coding: Option<Coding>,
        etag: Option<&EntityTag>,
        last_modified: Option<u64>,
    ) -> Self {
        Self::with_fields(content_type, coding, [], etag, last_modified)
    }

    /// The same with other fields. They are no fields of a prepared block themselves, and their names are
    /// names (RFC 9110 §5.1).
    pub fn with_fields<'a>(
        content_type: &str,
        coding: Option<Coding>,
        fields: impl IntoIterator<Item = (&'a str, &'a [u8])>,
        etag: Option<&EntityTag>,
        last_modified: Option<u64>,
    ) -> Self {
        let mut lines = Vec::with_capacity(224);
        push_line(&mut lines, CONTENT_TYPE, content_type.as_bytes());
        let type_end = lines.len();
        if let Some(coding) = coding {
            push_line(&mut lines, "Content-Encoding", coding.token().as_bytes());
        }
        let coding_end = lines.len();
        for (name, value) in fields {
            push_line(&mut lines, name, value);
        }
        if let Some(etag) = etag {
            push_line(&mut lines, "ETag", etag.as_bytes());
        }
        let date_start = lines.len();
        if let Some(date) = last_modified {
            push_line(&mut lines, "Last-Modified", &date::format(date));
        }
        Self { lines: lines.into_boxed_slice(), type_end, coding_end, date_start }
    }

    /// Encodes fields that describe no file.
    pub fn of_fields<'a>(fields: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut lines = Vec::new();
        for (name, value) in fields {
            push_line(&mut lines, name, value);
        }
        let date_start = lines.len();
        Self { lines: lines.into_boxed_slice(), type_end: 0, coding_end: 0, date_start }
    }

    /// Returns the fields of a part, encoded for HTTP/1.1: each a line with its CRLF.
    pub fn lines(&self, part: PreparedPart) -> &[u8] {
        let start = match part.from {
            PreparedStart::Type => 0,
            PreparedStart::Coding => self.type_end,
            PreparedStart::Validators => self.coding_end,
        };
        let end = if part.last_modified { self.lines.len() } else { self.date_start };
        &self.lines[start..end]
    }

    /// Returns the fields of a part as names and values.
    pub fn fields(&self, part: PreparedPart) -> impl Iterator<Item = (&str, &[u8])> {
        self.lines(part).split(|byte| *byte == b'\n').filter_map(|line| {
            let colon = memchr::memchr(b':', line)?;
            let name = std::str::from_utf8(&line[..colon]).ok()?;
            Some((name, line[colon + 1..].trim_ascii()))
        })
    }

    /// Returns the media type, for the parts of a multipart body.
    pub fn content_type(&self) -> &str {
        let line = std::str::from_utf8(&self.lines[..self.type_end]).unwrap_or_default();
        line.trim_end()
            .strip_prefix(CONTENT_TYPE)
            .and_then(|rest| rest.strip_prefix(": "))
            .unwrap_or_default()
    }
}

fn push_line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    crate::field_value::push_value(value, out);
    out.extend_from_slice(b"\r\n");
}

const CONTENT_TYPE: &str = "Content-Type";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etag::Timestamp;

    #[test]
    fn lines_and_fields_of_a_part_agree() {
        let etag = EntityTag::shared(1, Timestamp { seconds: 2, nanoseconds: 3 }, None);
        let fields = [("X-A", &b"1"[..])];
        let coding = Some(Coding::Brotli);
        let prepared = Prepared::with_fields("text/css", coding, fields, Some(&etag), Some(0));
        assert_eq!(prepared.content_type(), "text/css");
        let expected = [
            ("Content-Type", &b"text/css"[..]),
            ("Content-Encoding", b"br"),
            ("X-A", b"1"),
            ("ETag", etag.as_bytes()),
            ("Last-Modified", b"Thu, 01 Jan 1970 00:00:00 GMT"),
        ];
        let starts = [PreparedStart::Type, PreparedStart::Coding, PreparedStart::Validators];
        for (skipped, from) in starts.into_iter().enumerate() {
            for last_modified in [true, false] {
                let part = PreparedPart { from, last_modified };
                let expected = &expected[skipped..4 + usize::from(last_modified)];
                assert!(prepared.fields(part).eq(expected.iter().copied()));
                let mut lines = Vec::new();
                expected.iter().for_each(|(name, value)| push_line(&mut lines, name, value));
                assert_eq!(prepared.lines(part), lines);
            }
        }
    }

    #[test]
    fn absent_fields_have_no_line() {
        let prepared = Prepared::new("text/css", None, None, None);
        let all = PreparedPart { from: PreparedStart::Type, last_modified: true };
        assert_eq!(Prepared::of_fields([("X", &b"y"[..])]).lines(all), b"X: y\r\n");
        assert_eq!(prepared.lines(all), b"Content-Type: text/css\r\n");
        assert_eq!(prepared.lines(PreparedPart { from: PreparedStart::Validators, ..all }), b"");
    }
}
