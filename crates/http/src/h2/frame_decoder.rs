//! Bytes to frames, over any split of the bytes (RFC 9113 §4, §6).
//!
//! A frame that lies whole in the input is borrowed from it; one that arrives in parts is collected
//! first, except for DATA, whose parts are passed on as they arrive. Everything about a frame that
//! does not depend on the connection's state is checked here: its size, its stream or the lack of
//! one, its padding, and that nothing interrupts a field block.
//!
//! # Limitations
//!
//! A stream identifier that is valid in form is not checked against the streams that exist. Of
//! unknown frames and of GOAWAY's debug data nothing is kept.

use super::error::ConnectionError;
use super::frame::{DEFAULT_MAX_FRAME_SIZE, FrameHeader, HEADER_LENGTH, StreamId, flag, kind};

mod payload;

pub use payload::Frame;
use payload::parse;

/// Splits the bytes of a client into frames.
#[derive(Debug)]
pub struct FrameDecoder {
    /// The header, and behind it the length of the padding of DATA.
    header: [u8; HEADER_LENGTH + 1],
    filled: u8,
    state: State,
    /// The payload of a frame that arrives in parts.
    partial: Vec<u8>,
    /// The stream whose field block is not complete, or 0.
    block: StreamId,
    max_frame_size: u32,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Header,
    Payload(FrameHeader),
    Data { stream: StreamId, body: u32, padding: u32, end_stream: bool },
    Skip { left: u32 },
    Failed,
}

impl Default for FrameDecoder {
    fn default() -> Self {
        Self::new(DEFAULT_MAX_FRAME_SIZE)
    }
}

impl FrameDecoder {
    /// Creates a decoder for payloads of at most so many octets. It does not allocate.
    pub const fn new(max_frame_size: u32) -> Self {
        let (header, state) = ([0; HEADER_LENGTH + 1], State::Header);
        let block = StreamId::CONNECTION;
        Self { header, filled: 0, state, partial: Vec::new(), block, max_frame_size }
    }

    /// Returns whether nothing of a frame, and of a field block, has arrived. No memory is held then.
    pub fn is_empty(&self) -> bool {
        matches!(self.state, State::Header) && self.filled == 0 && self.block.0 == 0
    }

    /// Takes a frame, or a part of a DATA frame, off the front of `input`; `None` when the input is
    /// used up.
    ///
    /// # Errors
    ///
    /// A [`ConnectionError`]; from then on every call returns `None`, and drops its input.
    pub fn next<'d, 'i: 'd>(
        &'d mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Frame<'d, 'i>>, ConnectionError> {
        let taken = self.take(input);
        if taken.is_err() {
            (self.state, self.partial, *input) = (State::Failed, Vec::new(), &[]);
        }
        match taken? {
            Taken::Frame(frame) => Ok(Some(frame)),
            Taken::Payload(header) => {
                let length = header.length as usize;
                if self.partial.is_empty()
                    && let Some((payload, rest)) = input.split_at_checked(length)
                {
                    *input = rest;
                    return self.complete(header, payload).map(Some);
                }
                let missing = length - self.partial.len();
                let (part, rest) = input.split_at(missing.min(input.len()));
                self.partial.extend_from_slice(part);
                *input = rest;
                if part.len() < missing {
                    return Ok(None);
                }
                self.complete_partial(header).map(Some)
            }
            Taken::Nothing => Ok(None),
        }
    }

    /// Advances to a payload, or to a part of a DATA frame.
    fn take<'i>(&mut self, input: &mut &'i [u8]) -> Result<Taken<'i>, ConnectionError> {
        loop {
            match self.state {
                State::Failed => {
                    *input = &[];
                    return Ok(Taken::Nothing);
                }
                State::Payload(header) => return Ok(Taken::Payload(header)),
                State::Skip { left } => {
                    let count = input.len().min(left as usize);
                    *input = &input[count..];
                    let left = left - u32::try_from(count).unwrap_or(left);
                    if left > 0 {
                        self.state = State::Skip { left };
                        return Ok(Taken::Nothing);
                    }
                    self.state = State::Header;
                    return Ok(Taken::Frame(Frame::Unknown));
                }
                State::Data { .. } => return Ok(self.data(input)),
                State::Header => {
                    if !self.partial.is_empty() {
                        self.partial = Vec::new();
                    }
                    if !self.fill_header(input, HEADER_LENGTH) {
                        return Ok(Taken::Nothing);
                    }
                    let header = self.decode_header();
                    self.check(header)?;
                    if header.kind == kind::DATA {
                        return self.begin_data(header, input);
                    }
                    self.filled = 0;
                    let known = header.kind <= kind::CONTINUATION;
                    self.state = if known || header.kind == kind::PRIORITY_UPDATE {
                        State::Payload(header)
                    } else {
                        State::Skip { left: header.length }
                    };
                }
            }
        }
    }

    fn decode_header(&self) -> FrameHeader {
        let mut octets = [0; HEADER_LENGTH];
        octets.copy_from_slice(&self.header[..HEADER_LENGTH]);
        FrameHeader::decode(octets)
    }

    fn fill_header(&mut self, input: &mut &[u8], length: usize) -> bool {
        let filled = usize::from(self.filled);
        let count = length.saturating_sub(filled).min(input.len());
        let (part, rest) = input.split_at(count);
        self.header[filled..filled + count].copy_from_slice(part);
        *input = rest;
        self.filled += u8::try_from(count).unwrap_or(0);
        usize::from(self.filled) >= length
    }

    /// Checks a header as far as it needs no payload.
    fn check(&self, header: FrameHeader) -> Result<(), ConnectionError> {
        let FrameHeader { length, kind, stream, .. } = header;
        if length > self.max_frame_size {
            return Err(ConnectionError::frame_size("a frame is larger than allowed"));
        }
        let continues = kind == kind::CONTINUATION;
        if self.block.0 != 0 && !(continues && stream == self.block) {
            return Err(ConnectionError::protocol("a field block is interrupted"));
        }
        if continues && self.block.0 == 0 {
            return Err(ConnectionError::protocol("CONTINUATION without a field block"));
        }
        let of_stream = match kind {
            kind::DATA | kind::HEADERS | kind::PRIORITY | kind::RST_STREAM => true,
            kind::SETTINGS | kind::PING | kind::GOAWAY | kind::PRIORITY_UPDATE => false,
            kind::PUSH_PROMISE => {
                return Err(ConnectionError::protocol("PUSH_PROMISE from a client"));
            }
            _ => return self.check_length(header),
        };
        if of_stream != (stream.0 != 0) {
            return Err(ConnectionError::protocol("a frame of the wrong stream for its type"));
        }
        self.check_length(header)
    }

    fn check_length(&self, header: FrameHeader) -> Result<(), ConnectionError> {
        let length = header.length;
        let fits = match header.kind {
            kind::DATA => !header.has(flag::PADDED) || length >= 1,
            kind::HEADERS => {
                length
                    >= u32::from(header.has(flag::PADDED))
                        + if header.has(flag::PRIORITY) { 5 } else { 0 }
            }
            kind::RST_STREAM | kind::WINDOW_UPDATE => length == 4,
            kind::SETTINGS if header.has(flag::ACK) => length == 0,
            kind::SETTINGS => length.is_multiple_of(6),
            kind::PING => length == 8,
            kind::GOAWAY => length >= 8,
            kind::PRIORITY_UPDATE => length >= 4,
            _ => true,
        };
        if fits { Ok(()) } else { Err(ConnectionError::frame_size("a frame of a wrong length")) }
    }

    /// Begins a DATA frame, once the length of its padding is known.
    fn begin_data<'i>(
        &mut self,
        header: FrameHeader,
        input: &mut &[u8],
    ) -> Result<Taken<'i>, ConnectionError> {
        let FrameHeader { length, stream, .. } = header;
        let mut padding = 0;
        if header.has(flag::PADDED) {
            if !self.fill_header(input, HEADER_LENGTH + 1) {
                return Ok(Taken::Nothing);
            }
            padding = u32::from(self.header[HEADER_LENGTH]) + 1;
            if padding > length {
                return Err(ConnectionError::protocol("more padding than payload"));
            }
        }
        self.filled = 0;
        self.state = State::Data {
            stream,
            body: length - padding,
            padding: padding.saturating_sub(1),
            end_stream: header.has(flag::END_STREAM),
        };
        Ok(Taken::Frame(Frame::DataBegin { stream, length, padding }))
    }

    fn data<'i>(&mut self, input: &mut &'i [u8]) -> Taken<'i> {
        let State::Data { stream, body, padding, end_stream } = &mut self.state else {
            return Taken::Nothing;
        };
        let stream = *stream;
        let mut take = |left: &mut u32| {
            let (part, rest) = input.split_at(input.len().min(*left as usize));
            *left -= u32::try_from(part.len()).unwrap_or(*left);
            *input = rest;
            part
        };
        let bytes = take(body);
        if !bytes.is_empty() {
            return Taken::Frame(Frame::DataPart { stream, bytes });
        }
        if *body == 0 {
            take(padding);
        }
        if *body > 0 || *padding > 0 {
            return Taken::Nothing;
        }
        let end_stream = *end_stream;
        self.state = State::Header;
        Taken::Frame(Frame::DataEnd { stream, end_stream })
    }

    fn complete_partial<'i>(
        &mut self,
        header: FrameHeader,
    ) -> Result<Frame<'_, 'i>, ConnectionError> {
        let parsed = parse(header, &self.partial);
        Self::finish(&mut self.state, &mut self.block, header, parsed.is_err());
        parsed
    }

    fn complete<'d, 'i>(
        &mut self,
        header: FrameHeader,
        payload: &'d [u8],
    ) -> Result<Frame<'d, 'i>, ConnectionError> {
        let parsed = parse(header, payload);
        Self::finish(&mut self.state, &mut self.block, header, parsed.is_err());
        parsed
    }

    fn finish(state: &mut State, block: &mut StreamId, header: FrameHeader, failed: bool) {
        *state = if failed { State::Failed } else { State::Header };
        if matches!(header.kind, kind::HEADERS | kind::CONTINUATION) {
            let complete = header.has(flag::END_HEADERS);
            *block = if complete { StreamId::CONNECTION } else { header.stream };
        }
    }
}

enum Taken<'i> {
    /// A part of a DATA frame, or an unknown one.
    Frame(Frame<'i, 'i>),
    /// The payload of this frame is next.
    Payload(FrameHeader),
    Nothing,
}

#[cfg(test)]
mod tests;
