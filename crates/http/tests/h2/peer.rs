//! A client by hand: it makes frames and looks at those of the server.

use crate::sink::{File, Queue};
use karez_http::Status;
use karez_http::h2::hpack::{BlockEncoder, CompressionError};
use karez_http::h2::{
    Connection, ConnectionError, ConnectionLimits, ErrorCode, FrameEncoder, FrameHeader, Input,
    PREFACE, StreamId, flag, hpack, kind,
};
use std::time::{Duration, Instant};

/// An input that owns its bytes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    Head(u32, String),
    Rejected(u32, u16),
    Malformed(u32),
    Body(u32, Vec<u8>),
    End(u32),
    Reset(u32, ErrorCode),
    Error(ErrorCode),
}

/// A frame that the server has sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sent {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Sent {
    pub(crate) fn ends(&self) -> bool {
        matches!(self.kind, kind::DATA | kind::HEADERS) && self.flags & flag::END_STREAM != 0
    }

    pub(crate) fn word(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

pub(crate) struct Peer {
    pub(crate) connection: Connection<File>,
    pub(crate) queue: Queue,
    pub(crate) now: Instant,
    pub(crate) error: Option<ConnectionError>,
}

pub(crate) const GET: &[u8] = b"\x82\x86\x84\x01\x01a";

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    let header = FrameHeader { length, kind, flags, stream: StreamId(stream) };
    [&header.encode()[..], payload].concat()
}

pub(crate) fn settings(parameters: &[(u16, u32)]) -> Vec<u8> {
    let mut out = Vec::new();
    FrameEncoder::new(&mut out).settings(parameters);
    out
}

pub(crate) fn window(stream: u32, increment: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

pub(crate) fn reset(stream: u32, code: ErrorCode) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, &code.0.to_be_bytes())
}

/// A request without a body.
pub(crate) fn get(stream: u32) -> Vec<u8> {
    frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, stream, GET)
}

/// A request whose body follows.
pub(crate) fn post(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = b"\x83\x86\x84\x01\x01a".to_vec();
    let mut encoder = BlockEncoder::new(&mut block);
    for (name, value) in fields {
        encoder.field(name, value.as_bytes());
    }
    frame(kind::HEADERS, flag::END_HEADERS, stream, &block)
}

pub(crate) fn data(stream: u32, body: &[u8], end: bool) -> Vec<u8> {
    frame(kind::DATA, if end { flag::END_STREAM } else { 0 }, stream, body)
}

/// The field block of a response.
pub(crate) fn ok() -> Vec<u8> {
    let mut block = Vec::new();
    BlockEncoder::new(&mut block).status(Status::Ok);
    block
}

pub(crate) fn own(input: Input<'_>) -> (Seen, Option<ConnectionError>) {
    let seen = match input {
        Input::Head { stream, request } => {
            let line = String::from_utf8_lossy(request.request_line()).into_owned();
            let fields = request
                .fields()
                .map(|(name, value)| format!("|{}: {}", name.escape_ascii(), value.escape_ascii()));
            Seen::Head(stream.0, line + &fields.collect::<String>())
        }
        Input::Rejected { stream, error } => Seen::Rejected(stream.0, error.status.code()),
        Input::Malformed { stream, error } => {
            assert_eq!(error.status, Status::BadRequest);
            Seen::Malformed(stream.0)
        }
        Input::Body { stream, bytes } => {
            assert!(!bytes.is_empty());
            Seen::Body(stream.0, bytes.to_vec())
        }
        Input::End { stream } => Seen::End(stream.0),
        Input::Reset { stream, code } => Seen::Reset(stream.0, code),
        Input::Error(error) => return (Seen::Error(error.code), Some(error)),
        other => panic!("{other:?}"),
    };
    (seen, None)
}

impl Peer {
    /// A connection on which nothing has been sent.
    pub(crate) fn silent(limits: ConnectionLimits) -> Self {
        let connection = Connection::new(limits);
        Self { connection, queue: Queue::default(), now: Instant::now(), error: None }
    }

    /// A connection whose settings have been exchanged.
    pub(crate) fn with(limits: ConnectionLimits, parameters: &[(u16, u32)]) -> Self {
        let mut peer = Self::silent(limits);
        let ack = frame(kind::SETTINGS, flag::ACK, 0, b"");
        let bytes = [&PREFACE[..], &settings(parameters), &ack].concat();
        assert_eq!(peer.send(&bytes), []);
        let greeting = peer.receive();
        assert_eq!(greeting[0].kind, kind::SETTINGS);
        assert_eq!(
            greeting.last().map(|frame| (frame.kind, frame.flags)),
            Some((kind::SETTINGS, 1))
        );
        peer
    }

    pub(crate) fn new() -> Self {
        Self::with(ConnectionLimits::default(), &[])
    }

    /// Sends bytes. Returns their meaning.
    pub(crate) fn send(&mut self, mut bytes: &[u8]) -> Vec<Seen> {
        let mut seen = Vec::new();
        while let Some(input) = self.connection.receive(self.now, &mut bytes) {
            let (input, error) = own(input);
            seen.push(input);
            self.error = self.error.or(error);
        }
        assert!(bytes.is_empty());
        seen
    }

    pub(crate) fn send_all(&mut self, pieces: &[Vec<u8>]) -> Vec<Seen> {
        self.send(&pieces.concat())
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// Reports events of the sink. Returns streams that have ended by them.
    pub(crate) fn report(&mut self) -> Vec<u32> {
        let mut ended = Vec::new();
        while let Some((stream, event)) = self.queue.events.pop_front() {
            if self.connection.unit_event(stream, event) {
                ended.push(stream.0);
            }
        }
        ended
    }

    /// Has everything sent that may be sent. Returns the frames.
    pub(crate) fn receive(&mut self) -> Vec<Sent> {
        loop {
            self.connection.fill(&mut self.queue);
            let idle = self.queue.is_empty() && self.queue.events.is_empty();
            self.queue.send(usize::MAX);
            self.report();
            if idle {
                break;
            }
        }
        parse(&std::mem::take(&mut self.queue.wire))
    }

    /// The error code of the GOAWAY that the server sends.
    pub(crate) fn goaway(&mut self) -> Option<ErrorCode> {
        let frames = self.receive();
        assert!(self.connection.is_finished());
        let goaway = frames.into_iter().find(|frame| frame.kind == kind::GOAWAY);
        goaway.map(|frame| ErrorCode(frame.word(4)))
    }
}

/// Splits the server's output into frames.
pub(crate) fn parse(mut bytes: &[u8]) -> Vec<Sent> {
    let mut frames = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<9>() {
        let header = FrameHeader::decode(*header);
        let (payload, rest) = rest.split_at(header.length as usize);
        let (kind, flags, stream) = (header.kind, header.flags, header.stream.0);
        frames.push(Sent { kind, flags, stream, payload: payload.to_vec() });
        bytes = rest;
    }
    assert!(bytes.is_empty(), "a frame is not complete");
    frames
}

/// The fields of a block.
pub(crate) fn fields(block: &[u8]) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    hpack::BlockDecoder::new(4096)
        .decode(block, |name, value| {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            fields.push((text(name), text(value)));
            Ok::<_, CompressionError>(())
        })
        .unwrap();
    fields
}

/// The body that a stream has received, and whether it has ended.
pub(crate) fn body(frames: &[Sent], stream: u32) -> (Vec<u8>, bool) {
    let of_stream = || frames.iter().filter(|frame| frame.stream == stream);
    let parts = of_stream().filter(|frame| frame.kind == kind::DATA);
    let ends = of_stream().filter(|frame| frame.ends()).count();
    assert!(ends <= 1, "a stream ends twice");
    (parts.flat_map(|frame| frame.payload.clone()).collect(), ends == 1)
}
