//! Where a request head ends: the request line and the ends of lines (RFC 9112 §2.2, §3).
//!
//! The scan is incremental: a head that arrives byte by byte costs no more than one that arrives whole.
//! Each result depends on a prefix of the bytes only, so the split does not change it. The scan is strict
//! where lenient servers disagree with each other (request smuggling): every line ends in CRLF, a bare CR
//! or LF is an error, and the request line has single spaces. Other protocols, such as a TLS ClientHello,
//! are rejected at the first wrong byte.

use std::ops::Range;

use crate::error::ParseError;
use crate::grammar::{DEL, is_token};
use crate::limits::Limits;
use crate::status::Status;
use crate::version::Version;

/// A scan in progress; when it is complete, the offsets of the parts of the head.
#[derive(Debug)]
pub(crate) struct RequestScan {
    stage: ScanStage,
    /// Bytes before this offset have been scanned.
    at: usize,
    pub(crate) method_end: usize,
    pub(crate) target: Range<usize>,
    pub(crate) version: Version,
    /// Where the field lines begin.
    pub(crate) fields: usize,
    /// The number of field lines.
    pub(crate) lines: usize,
    /// The offset behind the empty line.
    pub(crate) end: usize,
}

impl RequestScan {
    pub(crate) const fn new() -> Self {
        Self {
            stage: ScanStage::Method,
            at: 0,
            method_end: 0,
            target: 0..0,
            version: Version::Http11,
            fields: 0,
            lines: 0,
            end: 0,
        }
    }

    /// Scans the new part of `bytes`, which start with the head. Returns whether the head is complete.
    pub(crate) fn advance(&mut self, bytes: &[u8], limits: &Limits) -> Result<bool, ParseError> {
        let window = bytes.get(..limits.head).unwrap_or(bytes);
        let done = (self.stage > ScanStage::Method || self.method(window)?)
            && (self.stage > ScanStage::Target || self.target(window, limits)?)
            && (self.stage > ScanStage::Version || self.version(window)?)
            && self.fields(window, limits)?;
        if !done && window.len() >= limits.head {
            return Err(ParseError::new(Status::FieldsTooLarge, "the head is too large"));
        }
        Ok(done)
    }

    fn method(&mut self, window: &[u8]) -> Result<bool, ParseError> {
        let rest = &window[self.at..];
        let length = rest.iter().position(|b| !is_token(*b)).unwrap_or(rest.len());
        self.at += length;
        if self.at > MAX_METHOD {
            return Err(ParseError::new(Status::NotImplemented, "the method is too long"));
        }
        match window.get(self.at) {
            None => Ok(false),
            Some(b' ') if self.at > 0 => {
                self.method_end = self.at;
                self.at += 1;
                self.stage = ScanStage::Target;
                Ok(true)
            }
            Some(0x16) if self.at == 0 => Err(ParseError::bad("a TLS hello on a plain-text port")),
            Some(_) => Err(ParseError::bad("not a request line")),
        }
    }

    fn target(&mut self, window: &[u8], limits: &Limits) -> Result<bool, ParseError> {
        let begin = self.method_end + 1;
        let longest = begin.saturating_add(limits.target);
        let rest = &window[self.at..];
        let length = rest.iter().position(|b| *b <= b' ' || *b == DEL).unwrap_or(rest.len());
        self.at += length;
        if self.at > longest {
            return Err(ParseError::new(Status::UriTooLong, "the target is too long"));
        }
        match window.get(self.at) {
            None => Ok(false),
            Some(b' ') if self.at > begin => {
                self.target = begin..self.at;
                self.at += 1;
                self.stage = ScanStage::Version;
                Ok(true)
            }
            Some(b' ') => Err(ParseError::bad("more than one space in the request line")),
            Some(b'\r' | b'\n') => Err(ParseError::bad("the request line has no version")),
            Some(_) => Err(ParseError::bad("a control byte in the target")),
        }
    }

    fn version(&mut self, window: &[u8]) -> Result<bool, ParseError> {
        let rest = &window[self.at..];
        let fits = |(byte, wanted): (&u8, &u8)| match wanted {
            b'0' => byte.is_ascii_digit(),
            _ => byte == wanted,
        };
        if !rest.iter().zip(VERSION_LINE).all(fits) {
            return Err(ParseError::bad("malformed version in the request line"));
        }
        let Some(line) = rest.get(..VERSION_LINE.len()) else {
            return Ok(false);
        };
        self.version = match (line[5], line[7]) {
            (b'1', b'0') => Version::Http10,
            (b'1', _) => Version::Http11,
            _ if window.starts_with(b"PRI * HTTP/2.0") => {
                return Err(ParseError::new(
                    Status::VersionNotSupported,
                    "HTTP/2 is not spoken here",
                ));
            }
            _ => {
                return Err(ParseError::new(
                    Status::VersionNotSupported,
                    "only HTTP/1 is spoken here",
                ));
            }
        };
        self.at += line.len();
        self.fields = self.at;
        self.end = self.at;
        self.stage = ScanStage::Fields;
        Ok(true)
    }

    /// Counts lines up to the empty one. `end` is where the line in progress begins.
    fn fields(&mut self, window: &[u8], limits: &Limits) -> Result<bool, ParseError> {
        while let Some(found) = memchr::memchr2(b'\r', b'\n', &window[self.at..]) {
            let stop = self.at + found;
            if window[stop] == b'\n' {
                return Err(ParseError::bad("a bare LF in the head"));
            }
            match window.get(stop + 1) {
                Some(b'\n') => {}
                Some(_) => return Err(ParseError::bad("a bare CR in the head")),
                None => {
                    self.at = stop;
                    return Ok(false);
                }
            }
            let empty = stop == self.end;
            self.at = stop + 2;
            self.end = self.at;
            if empty {
                return Ok(true);
            }
            self.lines += 1;
            if self.lines > limits.fields {
                return Err(ParseError::new(Status::FieldsTooLarge, "too many fields"));
            }
        }
        self.at = window.len();
        Ok(false)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ScanStage {
    Method,
    Target,
    Version,
    Fields,
}

/// The longest method, in bytes. All registered methods are shorter.
const MAX_METHOD: usize = 32;
/// The rest of a request line; `0` stands for any digit.
const VERSION_LINE: &[u8; 10] = b"HTTP/0.0\r\n";
