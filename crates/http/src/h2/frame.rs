//! Frames: their headers, and those that a server sends (RFC 9113 §4.1, §6).
//!
//! Of a DATA frame only the header is made here: the body may be a range of a file, which is sent
//! without passing through this crate.
//!
//! # Limitations
//!
//! No frame is sent with padding or a priority, and PUSH_PROMISE is not sent at all.

use super::error::ErrorCode;

/// How many octets the header of a frame has (RFC 9113 §4.1).
pub const HEADER_LENGTH: usize = 9;

/// The largest payload that is allowed before SETTINGS_MAX_FRAME_SIZE changes it.
pub const DEFAULT_MAX_FRAME_SIZE: u32 = 16_384;

/// The connection preface of a client (RFC 9113 §3.4). A SETTINGS frame follows.
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Names a stream (RFC 9113 §5.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

impl StreamId {
    /// The connection as a whole.
    pub const CONNECTION: Self = Self(0);
    /// The largest identifier.
    pub const MAX: Self = Self(0x7fff_ffff);

    /// Returns whether clients open streams with it.
    pub(crate) const fn is_of_client(self) -> bool {
        self.0 % 2 == 1
    }
}

/// The header of a frame (RFC 9113 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Octets of the payload, below 2²⁴.
    pub length: u32,
    /// The type; see [`kind`].
    pub kind: u8,
    /// See [`flag`].
    pub flags: u8,
    /// The stream that it belongs to.
    pub stream: StreamId,
}

/// Frame types (RFC 9113 §6, RFC 9218 §7.1).
#[expect(missing_docs, reason = "they are the names of the RFCs")]
pub mod kind {
    pub const DATA: u8 = 0x0;
    pub const HEADERS: u8 = 0x1;
    pub const PRIORITY: u8 = 0x2;
    pub const RST_STREAM: u8 = 0x3;
    pub const SETTINGS: u8 = 0x4;
    pub const PUSH_PROMISE: u8 = 0x5;
    pub const PING: u8 = 0x6;
    pub const GOAWAY: u8 = 0x7;
    pub const WINDOW_UPDATE: u8 = 0x8;
    pub const CONTINUATION: u8 = 0x9;
    pub const PRIORITY_UPDATE: u8 = 0x10;
}

/// Flags of frames (RFC 9113 §6).
#[expect(missing_docs, reason = "they are the names of the RFC")]
pub mod flag {
    pub const END_STREAM: u8 = 0x1;
    pub const ACK: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
    pub const PADDED: u8 = 0x8;
    pub const PRIORITY: u8 = 0x20;
}

impl FrameHeader {
    /// Creates the header of a frame whose payload has `length` octets; bits above 24 are cut off.
    pub(crate) fn new(kind: u8, flags: u8, stream: StreamId, length: usize) -> Self {
        debug_assert!(length < 1 << 24, "a frame of {length} octets");
        Self { length: u32::try_from(length).unwrap_or(u32::MAX) & 0xff_ffff, kind, flags, stream }
    }

    /// Creates the header of a DATA frame with `length` octets of a body.
    pub fn data(stream: StreamId, length: usize, end_stream: bool) -> Self {
        let flags = if end_stream { flag::END_STREAM } else { 0 };
        Self::new(kind::DATA, flags, stream, length)
    }

    /// Reads a header. The reserved bit is ignored.
    pub fn decode(octets: [u8; HEADER_LENGTH]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = octets;
        Self {
            length: u32::from_be_bytes([0, a, b, c]),
            kind,
            flags,
            stream: StreamId(u32::from_be_bytes(stream) & StreamId::MAX.0),
        }
    }

    /// Returns the header as it is sent.
    pub fn encode(self) -> [u8; HEADER_LENGTH] {
        let [_, a, b, c] = self.length.to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.0.to_be_bytes();
        [a, b, c, self.kind, self.flags, s0, s1, s2, s3]
    }

    /// Returns whether a flag is set.
    pub fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Appends frames that have no body of a file.
#[derive(Debug)]
pub struct FrameEncoder<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> FrameEncoder<'a> {
    /// Begins to append to `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// Appends a field block as HEADERS and as many CONTINUATION frames as the peer's largest frame
    /// requires (RFC 9113 §6.2, §6.10).
    pub fn headers(
        &mut self,
        stream: StreamId,
        block: &[u8],
        end_stream: bool,
        max_frame_size: u32,
    ) -> &mut Self {
        let mut parts = block.chunks(max_frame_size.max(1) as usize).peekable();
        let first = parts.next().unwrap_or_default();
        let mut flags = if end_stream { flag::END_STREAM } else { 0 };
        let last = |more: bool| if more { 0 } else { flag::END_HEADERS };
        flags |= last(parts.peek().is_some());
        self.frame(kind::HEADERS, flags, stream, first);
        while let Some(part) = parts.next() {
            self.frame(kind::CONTINUATION, last(parts.peek().is_some()), stream, part);
        }
        self
    }

    /// Appends a DATA frame with its body (RFC 9113 §6.1).
    pub fn data(&mut self, stream: StreamId, body: &[u8], end_stream: bool) -> &mut Self {
        self.out.extend(FrameHeader::data(stream, body.len(), end_stream).encode());
        self.out.extend_from_slice(body);
        self
    }

    /// Appends RST_STREAM (RFC 9113 §6.4).
    pub fn reset(&mut self, stream: StreamId, code: ErrorCode) -> &mut Self {
        self.frame(kind::RST_STREAM, 0, stream, &code.0.to_be_bytes())
    }

    /// Appends SETTINGS with these parameters (RFC 9113 §6.5).
    pub fn settings(&mut self, parameters: &[(u16, u32)]) -> &mut Self {
        let length = parameters.len() * 6;
        let header = FrameHeader::new(kind::SETTINGS, 0, StreamId::CONNECTION, length);
        self.out.extend(header.encode());
        for (identifier, value) in parameters {
            self.out.extend(identifier.to_be_bytes());
            self.out.extend(value.to_be_bytes());
        }
        self
    }

    /// Appends the acknowledgement of SETTINGS (RFC 9113 §6.5.3).
    pub fn settings_ack(&mut self) -> &mut Self {
        self.frame(kind::SETTINGS, flag::ACK, StreamId::CONNECTION, &[])
    }

    /// Appends PING (RFC 9113 §6.7).
    pub fn ping(&mut self, payload: [u8; 8], ack: bool) -> &mut Self {
        let flags = if ack { flag::ACK } else { 0 };
        self.frame(kind::PING, flags, StreamId::CONNECTION, &payload)
    }

    /// Appends GOAWAY (RFC 9113 §6.8).
    pub fn goaway(&mut self, last: StreamId, code: ErrorCode, debug: &[u8]) -> &mut Self {
        let length = 8 + debug.len();
        let header = FrameHeader::new(kind::GOAWAY, 0, StreamId::CONNECTION, length);
        self.out.extend(header.encode());
        self.out.extend(last.0.to_be_bytes());
        self.out.extend(code.0.to_be_bytes());
        self.out.extend_from_slice(debug);
        self
    }

    /// Appends WINDOW_UPDATE (RFC 9113 §6.9).
    pub fn window_update(&mut self, stream: StreamId, increment: u32) -> &mut Self {
        debug_assert!((1..=StreamId::MAX.0).contains(&increment), "an increment of {increment}");
        self.frame(kind::WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: StreamId, payload: &[u8]) -> &mut Self {
        self.out.extend(FrameHeader::new(kind, flags, stream, payload.len()).encode());
        self.out.extend_from_slice(payload);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::{ErrorCode, FrameEncoder, FrameHeader, StreamId, flag, kind};

    #[test]
    fn headers_round_trip() {
        let header = FrameHeader {
            length: 0x12_3456,
            kind: kind::HEADERS,
            flags: flag::END_HEADERS,
            stream: StreamId(0x7abc_def1),
        };
        let octets = [0x12, 0x34, 0x56, 1, 4, 0x7a, 0xbc, 0xde, 0xf1];
        assert_eq!(header.encode(), octets);
        assert_eq!(FrameHeader::decode(octets), header);
        let reserved = [0x12, 0x34, 0x56, 1, 4, 0xfa, 0xbc, 0xde, 0xf1];
        assert_eq!(FrameHeader::decode(reserved), header);
    }

    #[test]
    fn frames_of_a_server() {
        let mut out = Vec::new();
        FrameEncoder::new(&mut out)
            .settings(&[(3, 100)])
            .settings_ack()
            .ping([7; 8], true)
            .window_update(StreamId(1), 5)
            .reset(StreamId(3), ErrorCode::CANCEL)
            .goaway(StreamId(5), ErrorCode::NO_ERROR, b"x")
            .data(StreamId(1), b"ab", true);
        let expected: &[&[u8]] = &[
            &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100],
            &[0, 0, 0, 4, 1, 0, 0, 0, 0],
            &[0, 0, 8, 6, 1, 0, 0, 0, 0, 7, 7, 7, 7, 7, 7, 7, 7],
            &[0, 0, 4, 8, 0, 0, 0, 0, 1, 0, 0, 0, 5],
            &[0, 0, 4, 3, 0, 0, 0, 0, 3, 0, 0, 0, 8],
            &[0, 0, 9, 7, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, b'x'],
            &[0, 0, 2, 0, 1, 0, 0, 0, 1, b'a', b'b'],
        ];
        assert_eq!(out, expected.concat());
    }

    #[test]
    fn a_long_block_is_continued() {
        let mut out = Vec::new();
        FrameEncoder::new(&mut out).headers(StreamId(1), &[9; 25], true, 10);
        let header = |length, kind, flags| FrameHeader { length, kind, flags, stream: StreamId(1) };
        let expected = [
            &header(10, kind::HEADERS, flag::END_STREAM).encode()[..],
            &[9; 10],
            &header(10, kind::CONTINUATION, 0).encode(),
            &[9; 10],
            &header(5, kind::CONTINUATION, flag::END_HEADERS).encode(),
            &[9; 5],
        ];
        assert_eq!(out, expected.concat());
        out.clear();
        FrameEncoder::new(&mut out).headers(StreamId(1), &[], false, 10);
        assert_eq!(out, header(0, kind::HEADERS, flag::END_HEADERS).encode());
    }
}
