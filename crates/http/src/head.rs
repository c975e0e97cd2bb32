//! Where a request head ends: the request line and the ends of lines (RFC 9112 §2.2, §3).
//!
//! The scan is incremental, so a head that comes byte by byte costs no more than one that comes
//! whole; and each verdict depends on a prefix of the bytes only, so how they were split never
//! changes it. It is strict about what lenient peers disagree on (request smuggling): every line
//! ends in CRLF, a bare CR or LF is refused, and so is all but one space in the request line.
//! Nonsense (a TLS hello, say) is refused at its first wrong byte, not at its end.

use std::ops::Range;

use crate::limits::Limits;
use crate::refusal::Fault;
use crate::status::Status;

/// The version that a request was sent with (RFC 9112 §2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// HTTP/1.0: not persistent unless asked for, no transfer codings.
    Http10,
    /// HTTP/1.1, and any later minor version of 1.
    Http11,
}

/// A scan in progress, and when it is complete, where things stand in the head.
#[derive(Debug)]
pub(crate) struct Scan {
    stage: Stage,
    /// Bytes before this offset are never looked at again.
    at: usize,
    pub(crate) method_end: usize,
    pub(crate) target: Range<usize>,
    pub(crate) version: Version,
    /// Where the field lines begin.
    pub(crate) fields: usize,
    /// How many there are.
    pub(crate) lines: usize,
    /// One past the empty line.
    pub(crate) end: usize,
}

impl Scan {
    pub(crate) const fn new() -> Self {
        Self {
            stage: Stage::Method,
            at: 0,
            method_end: 0,
            target: 0..0,
            version: Version::Http11,
            fields: 0,
            lines: 0,
            end: 0,
        }
    }

    /// Looks at what is new in `bytes`, which begin where the head begins. True: the head is there.
    pub(crate) fn advance(&mut self, bytes: &[u8], limits: &Limits) -> Result<bool, Fault> {
        let window = bytes.get(..limits.head).unwrap_or(bytes);
        let done = (self.stage > Stage::Method || self.method(window)?)
            && (self.stage > Stage::Target || self.target(window, limits)?)
            && (self.stage > Stage::Version || self.version(window)?)
            && self.fields(window, limits)?;
        if !done && window.len() >= limits.head {
            return Err(Fault::new(Status::FieldsTooLarge, "the head is too large"));
        }
        Ok(done)
    }

    fn method(&mut self, window: &[u8]) -> Result<bool, Fault> {
        let rest = &window[self.at..];
        let length = rest.iter().position(|b| !is_token(*b)).unwrap_or(rest.len());
        self.at += length;
        if self.at > LONGEST_METHOD {
            return Err(Fault::new(Status::NotImplemented, "the method is too long"));
        }
        match window.get(self.at) {
            None => Ok(false),
            Some(b' ') if self.at > 0 => {
                self.method_end = self.at;
                self.at += 1;
                self.stage = Stage::Target;
                Ok(true)
            }
            Some(0x16) if self.at == 0 => Err(Fault::bad("a TLS hello on a plain-text port")),
            Some(_) => Err(Fault::bad("not a request line")),
        }
    }

    fn target(&mut self, window: &[u8], limits: &Limits) -> Result<bool, Fault> {
        let begin = self.method_end + 1;
        let longest = begin.saturating_add(limits.target);
        let rest = &window[self.at..];
        let length = rest.iter().position(|b| *b <= b' ' || *b == DEL).unwrap_or(rest.len());
        self.at += length;
        if self.at > longest {
            return Err(Fault::new(Status::UriTooLong, "the target is too long"));
        }
        match window.get(self.at) {
            None => Ok(false),
            Some(b' ') if self.at > begin => {
                self.target = begin..self.at;
                self.at += 1;
                self.stage = Stage::Version;
                Ok(true)
            }
            Some(b' ') => Err(Fault::bad("more than one space in the request line")),
            Some(b'\r' | b'\n') => Err(Fault::bad("the request line has no version")),
            Some(_) => Err(Fault::bad("a control byte in the target")),
        }
    }

    fn version(&mut self, window: &[u8]) -> Result<bool, Fault> {
        let rest = &window[self.at..];
        let fits = |(byte, wanted): (&u8, &u8)| match wanted {
            b'0' => byte.is_ascii_digit(),
            _ => byte == wanted,
        };
        if !rest.iter().zip(VERSION_LINE).all(fits) {
            return Err(Fault::bad("malformed version in the request line"));
        }
        let Some(line) = rest.get(..VERSION_LINE.len()) else {
            return Ok(false);
        };
        self.version = match (line[5], line[7]) {
            (b'1', b'0') => Version::Http10,
            (b'1', _) => Version::Http11,
            _ if window.starts_with(b"PRI * HTTP/2.0") => {
                return Err(Fault::new(Status::VersionNotSupported, "HTTP/2 is not spoken here"));
            }
            _ => {
                return Err(Fault::new(Status::VersionNotSupported, "only HTTP/1 is spoken here"));
            }
        };
        self.at += line.len();
        self.fields = self.at;
        self.end = self.at;
        self.stage = Stage::Fields;
        Ok(true)
    }

    /// Counts lines up to the empty one. `end` is where the line in progress begins.
    fn fields(&mut self, window: &[u8], limits: &Limits) -> Result<bool, Fault> {
        while let Some(found) = memchr::memchr2(b'\r', b'\n', &window[self.at..]) {
            let stop = self.at + found;
            if window[stop] == b'\n' {
                return Err(Fault::bad("a bare LF in the head"));
            }
            match window.get(stop + 1) {
                Some(b'\n') => {}
                Some(_) => return Err(Fault::bad("a bare CR in the head")),
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
                return Err(Fault::new(Status::FieldsTooLarge, "too many fields"));
            }
        }
        self.at = window.len();
        Ok(false)
    }
}

/// A byte of a token (RFC 9110 §5.6.2).
pub(crate) const fn is_token(byte: u8) -> bool {
    TOKEN[byte as usize]
}

/// A byte of a field value, or of a chunk extension: visible, space, tab, or beyond ASCII.
pub(crate) const fn is_text(byte: u8) -> bool {
    (byte >= b' ' && byte != DEL) || byte == b'\t'
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Method,
    Target,
    Version,
    Fields,
}

/// Longer than any registered method; those are recognized, so that 405 can be told from 501.
const LONGEST_METHOD: usize = 32;
/// The rest of a request line; `0` stands for any digit.
const VERSION_LINE: &[u8; 10] = b"HTTP/0.0\r\n";
const DEL: u8 = 0x7f;
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < DEL {
        table[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        byte += 1;
    }
    table
};
