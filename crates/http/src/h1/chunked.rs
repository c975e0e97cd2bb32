//! Chunked bodies (RFC 9112 §7.1).
//!
//! The reader is strict where lenient readers disagree with each other (request smuggling): only CRLF
//! ends a line, a size has at most 16 hexadecimal digits, and extensions and trailers hold no control
//! bytes. It keeps no bytes. Where a body is thrown away, every byte counts towards a limit, framing
//! included, so that a client cannot keep the server busy with empty framing.

use crate::error::ParseError;
use crate::grammar::{is_text, is_token};
use crate::limits::Limits;
use crate::status::Status;

/// A step through a chunked body. Offsets count from the begin of the bytes that were passed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChunkedStep {
    /// All bytes were taken, and the body goes on.
    NeedsMore,
    /// Content of a chunk in `begin..end`. The bytes before are framing, and those behind were not
    /// taken.
    Data { begin: usize, end: usize },
    /// The body is complete; this many bytes belonged to it.
    Complete(usize),
    /// The body is larger than its limit.
    TooLarge,
}

/// The reader of one chunked body.
#[derive(Debug)]
pub(crate) struct Chunked {
    state: ChunkState,
    /// Bytes that may still be taken; `None` without a limit.
    budget: Option<u64>,
    /// Of the chunk: its size while that is read, then its bytes that have not been taken.
    left: u64,
    /// Of this line: digits of the size, then bytes of the extension.
    line: usize,
    trailers: usize,
    trailer_lines: usize,
}

impl Chunked {
    pub(crate) const fn new() -> Self {
        Self {
            state: ChunkState::Size,
            budget: None,
            left: 0,
            line: 0,
            trailers: 0,
            trailer_lines: 0,
        }
    }

    /// Limits the bytes that are taken from now on, framing included.
    pub(crate) fn limit_to(&mut self, bytes: u64) {
        self.budget.get_or_insert(bytes);
    }

    /// Takes bytes up to the end of the next piece of content. Call it again with the bytes behind.
    pub(crate) fn step(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
    ) -> Result<ChunkedStep, ParseError> {
        let mut at = 0;
        loop {
            // Checked ahead of the content: a chunk that is too large is not waited for.
            if self.state == ChunkState::Data && self.budget.is_some_and(|left| self.left > left) {
                return Ok(ChunkedStep::TooLarge);
            }
            let Some(byte) = bytes.get(at) else {
                return Ok(ChunkedStep::NeedsMore);
            };
            if self.state == ChunkState::Data {
                let length = self.take_content(bytes.len() - at);
                return Ok(ChunkedStep::Data { begin: at, end: at + length });
            }
            match &mut self.budget {
                Some(0) => return Ok(ChunkedStep::TooLarge),
                Some(left) => *left -= 1,
                None => {}
            }
            at += 1;
            self.state = self.read(*byte, limits)?;
            if self.state == ChunkState::End {
                return Ok(ChunkedStep::Complete(at));
            }
        }
    }

    /// Takes the content of a chunk, as much as there is.
    fn take_content(&mut self, available: usize) -> usize {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(available);
        self.left -= length as u64;
        self.budget = self.budget.map(|left| left - length as u64);
        if self.left == 0 {
            self.state = ChunkState::DataCr;
        }
        length
    }

    /// Reads a byte of framing and returns the state behind it.
    fn read(&mut self, byte: u8, limits: &Limits) -> Result<ChunkState, ParseError> {
        match (self.state, byte) {
            (ChunkState::Size, _) => self.read_size(byte),
            (ChunkState::Space, b' ' | b'\t')
            | (ChunkState::Space | ChunkState::Extension, b';') => self.extend(byte),
            (ChunkState::Extension, b'\r') => Ok(ChunkState::SizeLf),
            (ChunkState::Extension, _) if is_text(byte) => self.extend(byte),
            (ChunkState::SizeLf, b'\n') if self.left == 0 => Ok(ChunkState::Line),
            (ChunkState::SizeLf, b'\n') => Ok(ChunkState::Data),
            (ChunkState::DataCr, b'\r') => Ok(ChunkState::DataLf),
            (ChunkState::DataLf, b'\n') => {
                self.line = 0;
                Ok(ChunkState::Size)
            }
            (ChunkState::Line, b'\r') => Ok(ChunkState::EndLf),
            (ChunkState::EndLf, b'\n') => Ok(ChunkState::End),
            (ChunkState::Line | ChunkState::Name | ChunkState::Value | ChunkState::ValueLf, _) => {
                self.read_trailer(byte, limits)
            }
            _ => Err(ParseError::bad("malformed chunk")),
        }
    }

    fn read_size(&mut self, byte: u8) -> Result<ChunkState, ParseError> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' if self.line > 0 => return Ok(ChunkState::SizeLf),
            b';' if self.line > 0 => return Ok(ChunkState::Extension),
            b' ' | b'\t' if self.line > 0 => return Ok(ChunkState::Space),
            _ => return Err(ParseError::bad("malformed chunk size")),
        };
        self.line += 1;
        if self.line > 16 {
            return Err(ParseError::bad("the chunk size is too long"));
        }
        self.left = (self.left << 4) | u64::from(digit);
        Ok(ChunkState::Size)
    }

    /// Counts a byte of an extension. White space before it counts too, since it is unbounded
    /// otherwise.
    fn extend(&mut self, byte: u8) -> Result<ChunkState, ParseError> {
        self.line += 1;
        if self.line > MAX_EXTENSION {
            return Err(ParseError::bad("the chunk extension is too long"));
        }
        let blank = self.state == ChunkState::Space && byte != b';';
        Ok(if blank { ChunkState::Space } else { ChunkState::Extension })
    }

    fn read_trailer(&mut self, byte: u8, limits: &Limits) -> Result<ChunkState, ParseError> {
        self.trailers += 1;
        if self.trailers > limits.head {
            return Err(ParseError::new(Status::FieldsTooLarge, "the trailers are too large"));
        }
        match (self.state, byte) {
            (ChunkState::Line, _) if is_token(byte) => {
                self.trailer_lines += 1;
                if self.trailer_lines > limits.fields {
                    return Err(ParseError::new(Status::FieldsTooLarge, "too many trailers"));
                }
                Ok(ChunkState::Name)
            }
            (ChunkState::Name, _) if is_token(byte) => Ok(ChunkState::Name),
            (ChunkState::Name, b':') => Ok(ChunkState::Value),
            (ChunkState::Value, b'\r') => Ok(ChunkState::ValueLf),
            (ChunkState::Value, _) if is_text(byte) => Ok(ChunkState::Value),
            (ChunkState::ValueLf, b'\n') => Ok(ChunkState::Line),
            _ => Err(ParseError::bad("malformed trailer")),
        }
    }
}

/// The meaning of the next byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChunkState {
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

/// The longest extension of a chunk, in bytes.
const MAX_EXTENSION: usize = 1024;
