//! Fields of a response that describe one file, encoded once and copied into every response.
//!
//! A server that keeps a file open keeps its [`Prepared`] block beside it. The fields stand in one block
//! of lines, ordered so that each kind of response takes one slice: the whole block (200, and 206 with
//! one range), without `Content-Type` (`multipart/byteranges`), the fields of the configuration and the
//! validators alone (304); and each of them with or without `Last-Modified`, which is the last line.
//!
//! The copy for HTTP/2 is made for the first response that needs it.

use std::ops::Range;
use std::sync::OnceLock;

use crate::date;
use crate::encoding::Coding;
use crate::etag::EntityTag;
use crate::h2::hpack::BlockEncoder;

/// The fields that describe one file: `Content-Type`, `Content-Encoding`, fields of a configuration, `ETag`,
/// `Last-Modified`.
#[derive(Debug)]
pub struct Prepared {
    lines: Box<[u8]>,
    places: Places,
    field_blocks: OnceLock<FieldBlocks>,
}

/// The fields, encoded for HTTP/2.
#[derive(Debug)]
struct FieldBlocks {
    bytes: Box<[u8]>,
    places: Places,
}

/// Where the fields behind `Content-Type` begin in an encoding, those behind `Content-Encoding`, and `Last-Modified`.
#[derive(Clone, Copy, Debug)]
struct Places {
    type_end: usize,
    coding_end: usize,
    date_start: usize,
}

impl Places {
    /// Returns where the fields of a part are in an encoding of `length` bytes.
    fn range(self, part: PreparedPart, length: usize) -> Range<usize> {
        let start = match part.from {
            PreparedStart::Type => 0,
            PreparedStart::Coding => self.type_end,
            PreparedStart::Validators => self.coding_end,
        };
        start..if part.last_modified { length } else { self.date_start }
    }
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
        Self::of_lines(lines, Places { type_end, coding_end, date_start })
    }

    /// Encodes fields that describe no file.
    pub fn of_fields<'a>(fields: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut lines = Vec::new();
        for (name, value) in fields {
            push_line(&mut lines, name, value);
        }
        let date_start = lines.len();
        Self::of_lines(lines, Places { type_end: 0, coding_end: 0, date_start })
    }

    fn of_lines(lines: Vec<u8>, places: Places) -> Self {
        Self { lines: lines.into_boxed_slice(), places, field_blocks: OnceLock::new() }
    }

    /// Returns the fields of a part, encoded for HTTP/1.1: each a line with its CRLF.
    pub fn lines(&self, part: PreparedPart) -> &[u8] {
        &self.lines[self.places.range(part, self.lines.len())]
    }

    /// Returns the fields of a part, encoded for HTTP/2: a field block without references to a dynamic table, so
    /// that it may be sent on any connection.
    pub fn field_block(&self, part: PreparedPart) -> &[u8] {
        let blocks = self.field_blocks.get_or_init(|| self.encode_field_blocks());
        &blocks.bytes[blocks.places.range(part, blocks.bytes.len())]
    }

    fn encode_field_blocks(&self) -> FieldBlocks {
        let mut bytes = Vec::new();
        let mut encode = |range: Range<usize>| {
            let mut encoder = BlockEncoder::new(&mut bytes);
            for (name, value) in fields(&self.lines[range]) {
                encoder.field(name, value);
            }
            bytes.len()
        };
        let Places { type_end, coding_end, date_start } = self.places;
        let places = Places {
            type_end: encode(0..type_end),
            coding_end: encode(type_end..coding_end),
            date_start: encode(coding_end..date_start),
        };
        encode(date_start..self.lines.len());
        FieldBlocks { bytes: bytes.into_boxed_slice(), places }
    }

    /// Returns the fields of a part as names and values.
    pub fn fields(&self, part: PreparedPart) -> impl Iterator<Item = (&str, &[u8])> {
        fields(self.lines(part))
    }

    /// Returns the media type, for the parts of a multipart body.
    pub fn content_type(&self) -> &str {
        let line = std::str::from_utf8(&self.lines[..self.places.type_end]).unwrap_or_default();
        line.trim_end()
            .strip_prefix(CONTENT_TYPE)
            .and_then(|rest| rest.strip_prefix(": "))
            .unwrap_or_default()
    }
}

fn fields(lines: &[u8]) -> impl Iterator<Item = (&str, &[u8])> {
    lines.split(|byte| *byte == b'\n').filter_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        let name = std::str::from_utf8(&line[..colon]).ok()?;
        Some((name, line[colon + 1..].trim_ascii()))
    })
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
    fn lines_fields_and_field_block_of_a_part_agree() {
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
                let mut block = Vec::new();
                let mut encoder = BlockEncoder::new(&mut block);
                for (name, value) in expected {
                    encoder.field(name, value);
                }
                assert_eq!(prepared.field_block(part), block);
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
