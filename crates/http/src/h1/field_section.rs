//! The field section of a complete head: its grammar, and the framing of the message
//! (RFC 9112 §5, §6, §9.3; RFC 9110 §7.2).
//!
//! httparse checks names and values; the scan has checked line ends, since httparse accepts a bare LF.
//! Every head that two servers could interpret differently is an error: two lengths, a length beside a
//! transfer coding, any transfer coding but one `chunked`, two hosts.

use httparse::{EMPTY_HEADER, Header};

use crate::authority;
use crate::decimal;
use crate::error::ParseError;
use crate::field::{COUNT, Field};
use crate::h1::request_scan::RequestScan;
use crate::version::Version;

/// The properties of the message and the connection by the fields.
#[derive(Debug)]
pub(crate) struct FieldSection {
    /// Where the value of the first line of each known field begins; 0: there is none.
    pub(crate) first: [u16; COUNT],
    pub(crate) keep_alive: bool,
    pub(crate) continues: bool,
    pub(crate) framing: Framing,
}

/// How the body is delimited (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
}

/// Reads the fields of `head`, which is complete and was scanned.
pub(crate) fn read(head: &[u8], scan: &RequestScan) -> Result<FieldSection, ParseError> {
    let mut reader = Reader { head, section: FieldSection::new(), close: false };
    if scan.lines <= STACK_FIELDS {
        reader.walk(scan, &mut [EMPTY_HEADER; STACK_FIELDS])?;
    } else {
        reader.walk(scan, &mut vec![EMPTY_HEADER; scan.lines])?;
    }
    reader.conclude(scan.version)
}

impl FieldSection {
    const fn new() -> Self {
        Self { first: [0; COUNT], keep_alive: false, continues: false, framing: Framing::Length(0) }
    }

    fn has(&self, field: Field) -> bool {
        self.first[field.index()] != 0
    }
}

struct Reader<'a> {
    head: &'a [u8],
    section: FieldSection,
    close: bool,
}

impl<'a> Reader<'a> {
    fn walk(&mut self, scan: &RequestScan, space: &mut [Header<'a>]) -> Result<(), ParseError> {
        let lines = &self.head[scan.fields..];
        match httparse::parse_headers(lines, space) {
            Ok(httparse::Status::Complete((length, headers))) if length == lines.len() => {
                headers.iter().try_for_each(|header| self.take(header))
            }
            Err(httparse::Error::HeaderName) => Err(ParseError::bad("malformed field name")),
            Err(httparse::Error::HeaderValue) => Err(ParseError::bad("malformed field value")),
            _ => Err(ParseError::bad("malformed fields")),
        }
    }

    fn take(&mut self, header: &Header<'a>) -> Result<(), ParseError> {
        let Some(field) = Field::from_name(header.name.as_bytes()) else {
            return Ok(());
        };
        let again = self.section.has(field);
        if !again {
            let offset = header.value.as_ptr().addr() - self.head.as_ptr().addr();
            self.section.first[field.index()] = u16::try_from(offset).unwrap_or(u16::MAX);
        }
        let value = header.value;
        match field {
            Field::Host if again => Err(ParseError::bad("two Host fields")),
            Field::Host if !value.is_empty() && !authority::is_valid(value) => {
                Err(ParseError::bad("malformed Host"))
            }
            Field::ContentLength | Field::TransferEncoding => self.frame(field, value, again),
            Field::Connection => {
                for option in items(value) {
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.section.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
                Ok(())
            }
            Field::Expect => {
                self.section.continues |=
                    items(value).any(|item| item.eq_ignore_ascii_case(b"100-continue"));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn frame(&mut self, field: Field, value: &[u8], again: bool) -> Result<(), ParseError> {
        if again {
            return Err(ParseError::bad("the body is framed twice"));
        }
        self.section.framing = if field == Field::ContentLength {
            let length =
                decimal::parse(value).ok_or(ParseError::bad("malformed Content-Length"))?;
            Framing::Length(length)
        } else if value.eq_ignore_ascii_case(b"chunked") {
            Framing::Chunked
        } else {
            return Err(ParseError::bad("a transfer coding other than chunked"));
        };
        Ok(())
    }

    fn conclude(mut self, version: Version) -> Result<FieldSection, ParseError> {
        let coded = self.section.has(Field::TransferEncoding);
        if coded && self.section.has(Field::ContentLength) {
            return Err(ParseError::bad("both Transfer-Encoding and Content-Length"));
        }
        match version {
            Version::Http10 if coded => {
                return Err(ParseError::bad("Transfer-Encoding in HTTP/1.0"));
            }
            // RFC 9110 §10.1.1: an expectation in HTTP/1.0 is ignored.
            Version::Http10 => self.section.continues = false,
            _ if !self.section.has(Field::Host) => return Err(ParseError::bad("no Host field")),
            _ => self.section.keep_alive = true,
        }
        self.section.keep_alive &= !self.close;
        Ok(self.section)
    }
}

/// The members of a list of tokens (RFC 9110 §5.6.1).
fn items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(<[u8]>::trim_ascii)
}

/// Heads with no more lines than this are parsed on the stack.
const STACK_FIELDS: usize = 32;
