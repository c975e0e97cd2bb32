//! A chunked body that is read and thrown away (RFC 9112 §7.1).
//!
//! Nothing is kept, so memory is no concern; time is: every byte, framing included, counts towards
//! the limit. Strict where lenient readers were smuggled past: CRLF alone ends a line, sizes are at
//! most 16 hexadecimal digits, and extensions and trailers hold no control bytes.

use crate::head::{is_text, is_token};
use crate::limits::Limits;
use crate::refusal::Fault;
use crate::status::Status;

/// How far a body got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// All bytes were taken, and there are more to come.
    More,
    /// The body is complete; this many bytes belonged to it.
    Whole(usize),
    /// It is larger than what is read.
    TooLarge,
}

/// The reader of one chunked body.
#[derive(Debug)]
pub(crate) struct Chunked {
    state: State,
    /// Bytes taken so far.
    taken: u64,
    /// Of the chunk: its size while that is read, then what is left of it.
    left: u64,
    /// Of this line: digits of the size, then bytes of the extension.
    line: usize,
    trailers: usize,
    trailer_lines: usize,
}

impl Chunked {
    pub(crate) const fn new() -> Self {
        Self { state: State::Size, taken: 0, left: 0, line: 0, trailers: 0, trailer_lines: 0 }
    }

    /// Takes `bytes`; call it again with those that follow.
    pub(crate) fn discard(&mut self, bytes: &[u8], limits: &Limits) -> Result<Progress, Fault> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            if self.state == State::Data {
                at += self.skip(bytes.len() - at);
                continue;
            }
            at += 1;
            self.taken += 1;
            if self.taken > limits.drain {
                return Ok(Progress::TooLarge);
            }
            self.state = self.step(*byte, limits)?;
            match self.state {
                State::End => return Ok(Progress::Whole(at)),
                State::Data if self.left > limits.drain - self.taken => {
                    return Ok(Progress::TooLarge);
                }
                _ => {}
            }
        }
        Ok(Progress::More)
    }

    /// Skips what there is of the data of a chunk.
    fn skip(&mut self, available: usize) -> usize {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(available);
        self.left -= length as u64;
        self.taken += length as u64;
        if self.left == 0 {
            self.state = State::DataCr;
        }
        length
    }

    fn step(&mut self, byte: u8, limits: &Limits) -> Result<State, Fault> {
        match (self.state, byte) {
            (State::Size, _) => self.size(byte),
            (State::Space, b' ' | b'\t') | (State::Space | State::Extension, b';') => {
                self.extend(byte)
            }
            (State::Extension, b'\r') => Ok(State::SizeLf),
            (State::Extension, _) if is_text(byte) => self.extend(byte),
            (State::SizeLf, b'\n') if self.left == 0 => Ok(State::Line),
            (State::SizeLf, b'\n') => Ok(State::Data),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => {
                self.line = 0;
                Ok(State::Size)
            }
            (State::Line, b'\r') => Ok(State::EndLf),
            (State::EndLf, b'\n') => Ok(State::End),
            (State::Line | State::Name | State::Value | State::ValueLf, _) => {
                self.trailer(byte, limits)
            }
            _ => Err(Fault::bad("malformed chunk")),
        }
    }

    fn size(&mut self, byte: u8) -> Result<State, Fault> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' if self.line > 0 => return Ok(State::SizeLf),
            b';' if self.line > 0 => return Ok(State::Extension),
            b' ' | b'\t' if self.line > 0 => return Ok(State::Space),
            _ => return Err(Fault::bad("malformed chunk size")),
        };
        self.line += 1;
        if self.line > 16 {
            return Err(Fault::bad("the chunk size is too long"));
        }
        self.left = (self.left << 4) | u64::from(digit);
        Ok(State::Size)
    }

    /// White space counts as well: it is bounded with the extension that must follow.
    fn extend(&mut self, byte: u8) -> Result<State, Fault> {
        self.line += 1;
        if self.line > LONGEST_EXTENSION {
            return Err(Fault::bad("the chunk extension is too long"));
        }
        let blank = self.state == State::Space && byte != b';';
        Ok(if blank { State::Space } else { State::Extension })
    }

    fn trailer(&mut self, byte: u8, limits: &Limits) -> Result<State, Fault> {
        self.trailers += 1;
        if self.trailers > limits.head {
            return Err(Fault::new(Status::FieldsTooLarge, "the trailers are too large"));
        }
        match (self.state, byte) {
            (State::Line, _) if is_token(byte) => {
                self.trailer_lines += 1;
                if self.trailer_lines > limits.fields {
                    return Err(Fault::new(Status::FieldsTooLarge, "too many trailers"));
                }
                Ok(State::Name)
            }
            (State::Name, _) if is_token(byte) => Ok(State::Name),
            (State::Name, b':') => Ok(State::Value),
            (State::Value, b'\r') => Ok(State::ValueLf),
            (State::Value, _) if is_text(byte) => Ok(State::Value),
            (State::ValueLf, b'\n') => Ok(State::Line),
            _ => Err(Fault::bad("malformed trailer")),
        }
    }
}

/// What the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    /// White space between size and extension.
    Space,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// The first byte of a trailer, or of the end.
    Line,
    Name,
    Value,
    ValueLf,
    EndLf,
    End,
}

/// Of one chunk, in bytes.
const LONGEST_EXTENSION: usize = 1024;
