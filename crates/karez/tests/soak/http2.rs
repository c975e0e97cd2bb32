//! A client of HTTP/2 that keeps the requests of its streams beside their responses.

use karez_http::h2::hpack::{BlockDecoder, BlockEncoder, CompressionError};
use karez_http::h2::{
    ErrorCode, FrameEncoder, FrameHeader, HEADER_LENGTH, PREFACE, StreamId, flag, kind,
};
use std::collections::BTreeMap;
use std::time::Instant;

use crate::ask::Ask;
use crate::response::{Head, Response};
use crate::socket::{End, PART, Socket};
use crate::tree::Tree;

/// SETTINGS_INITIAL_WINDOW_SIZE.
const INITIAL_WINDOW: u16 = 4;

pub struct Stream {
    pub ask: Ask,
    pub response: Option<Response>,
}

/// The end of a stream.
pub enum Over {
    Complete(Stream),
    Reset(Stream, ErrorCode),
}

pub struct Http2 {
    pub socket: Socket,
    buffer: Vec<u8>,
    at: usize,
    decoder: BlockDecoder,
    /// The streams that are not over.
    pub streams: BTreeMap<u32, Stream>,
    next: u32,
    /// The last stream that the server serves.
    pub goaway: Option<u32>,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8], into: &mut Vec<u8>) {
    let length = payload.len() as u32;
    let header = FrameHeader { length, kind, flags, stream: StreamId(stream) };
    into.extend_from_slice(&header.encode());
    into.extend_from_slice(payload);
}

fn broken(text: &str) -> End {
    End::Broken(text.to_owned())
}

impl Http2 {
    pub fn start(mut socket: Socket, window: u32) -> Result<Self, End> {
        let mut bytes = PREFACE.to_vec();
        FrameEncoder::new(&mut bytes).settings(&[(INITIAL_WINDOW, window)]);
        socket.send(&bytes)?;
        let decoder = BlockDecoder::new(4096);
        let streams = BTreeMap::new();
        Ok(Self { socket, buffer: Vec::new(), at: 0, decoder, streams, next: 1, goaway: None })
    }

    /// Sends requests on new streams.
    pub fn request(&mut self, asks: Vec<Ask>, tree: &Tree) -> Result<(), End> {
        let mut bytes = Vec::new();
        let sent = Instant::now();
        for ask in asks {
            let (mut block, path) = (Vec::new(), ask.path(tree));
            let mut encoder = BlockEncoder::new(&mut block);
            for (name, value) in [
                (":method", ask.method()),
                (":scheme", "http"),
                (":authority", "localhost"),
                (":path", &path),
            ] {
                encoder.field(name, value.as_bytes());
            }
            for (name, value) in ask.fields() {
                encoder.field(name, value.as_bytes());
            }
            frame(
                kind::HEADERS,
                flag::END_HEADERS | flag::END_STREAM,
                self.next,
                &block,
                &mut bytes,
            );
            self.streams.insert(self.next, Stream { ask: Ask { sent, ..ask }, response: None });
            self.next += 2;
        }
        self.socket.send(&bytes)
    }

    /// Cancels a stream, whose response is not looked at any more.
    pub fn cancel(&mut self, stream: u32) -> Result<(), End> {
        self.streams.remove(&stream);
        let mut bytes = Vec::new();
        frame(kind::RST_STREAM, 0, stream, &ErrorCode::CANCEL.0.to_be_bytes(), &mut bytes);
        self.socket.send(&bytes)
    }

    /// Reads frames until a stream ends or GOAWAY arrives, for which `None` is returned.
    pub fn read(&mut self) -> Result<Option<Over>, End> {
        loop {
            while self.buffer.len() - self.at < HEADER_LENGTH {
                self.receive()?;
            }
            let header = self.buffer[self.at..][..HEADER_LENGTH].try_into().unwrap();
            let header = FrameHeader::decode(header);
            let length = header.length as usize;
            while self.buffer.len() - self.at < HEADER_LENGTH + length {
                self.receive()?;
            }
            let from = self.at + HEADER_LENGTH;
            self.at = from + length;
            let payload = self.buffer[from..from + length].to_vec();
            let before = self.goaway;
            if let Some(over) = self.take(header, &payload)? {
                return Ok(Some(over));
            }
            if self.goaway != before {
                return Ok(None);
            }
        }
    }

    fn receive(&mut self) -> Result<(), End> {
        self.buffer.drain(..self.at);
        self.at = 0;
        self.socket.receive(&mut self.buffer, PART)
    }

    fn take(&mut self, header: FrameHeader, payload: &[u8]) -> Result<Option<Over>, End> {
        let number = header.stream.0;
        let is = |wanted: u8| header.flags & wanted != 0;
        let word = |at: usize| {
            let word = payload.get(at..at + 4).ok_or_else(|| broken("a short frame"))?;
            Ok::<_, End>(u32::from_be_bytes(word.try_into().unwrap()))
        };
        let mut bytes = Vec::new();
        match header.kind {
            kind::SETTINGS if !is(flag::ACK) => {
                frame(kind::SETTINGS, flag::ACK, 0, b"", &mut bytes);
            }
            kind::PING if !is(flag::ACK) => frame(kind::PING, flag::ACK, 0, payload, &mut bytes),
            kind::HEADERS => {
                if !is(flag::END_HEADERS) {
                    return Err(broken("a head in several frames"));
                }
                let head = self.decode(payload)?;
                if let Some(stream) = self.streams.get_mut(&number) {
                    let headed = Instant::now();
                    if stream.response.is_some() {
                        return Err(broken("two heads"));
                    }
                    stream.response = Some(Response { head, headed, body: Vec::new() });
                }
            }
            kind::DATA => {
                let count = header.length.to_be_bytes();
                if header.length > 0 {
                    frame(kind::WINDOW_UPDATE, 0, 0, &count, &mut bytes);
                    if !is(flag::END_STREAM) {
                        frame(kind::WINDOW_UPDATE, 0, number, &count, &mut bytes);
                    }
                }
                if let Some(stream) = self.streams.get_mut(&number) {
                    let response =
                        stream.response.as_mut().ok_or_else(|| broken("DATA before a head"))?;
                    response.body.extend_from_slice(payload);
                }
            }
            kind::RST_STREAM => {
                let code = ErrorCode(word(0)?);
                return Ok(self.streams.remove(&number).map(|stream| Over::Reset(stream, code)));
            }
            kind::GOAWAY => self.goaway = Some(word(0)?),
            _ => {}
        }
        if !bytes.is_empty() {
            // The server may have closed the connection behind its last byte.
            let _closed = self.socket.send(&bytes);
        }
        let ends = is(flag::END_STREAM) && matches!(header.kind, kind::HEADERS | kind::DATA);
        Ok(if ends { self.streams.remove(&number).map(Over::Complete) } else { None })
    }

    fn decode(&mut self, block: &[u8]) -> Result<Head, End> {
        let mut head = Head::default();
        let decoded = self.decoder.decode(block, |name, value| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            match name {
                b":status" => head.status = text(value).parse().unwrap_or(0),
                name => head.fields.push((text(name), text(value))),
            }
            Ok::<_, CompressionError>(())
        });
        decoded.map_err(|_| broken("a head that does not decompress"))?;
        Ok(head)
    }
}
