//! Payloads of frames (RFC 9113 §6, RFC 9218 §7.1).

use crate::h2::error::{ConnectionError, ErrorCode};
use crate::h2::frame::{FrameHeader, StreamId, flag, kind};

/// A frame, or a part of a DATA frame. `'d` is the decoder's buffer, `'i` the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Frame<'d, 'i> {
    /// A DATA frame begins: `length` octets count for flow control, `padding` of them are no body
    /// (the octet with the length of the padding included).
    DataBegin {
        /// Its stream.
        stream: StreamId,
        /// Octets that count for flow control.
        length: u32,
        /// Octets of these that are no body.
        padding: u32,
    },
    /// A part of its body, never empty.
    DataPart {
        /// Its stream.
        stream: StreamId,
        /// The octets.
        bytes: &'i [u8],
    },
    /// The DATA frame is complete.
    DataEnd {
        /// Its stream.
        stream: StreamId,
        /// It ends the stream.
        end_stream: bool,
    },
    /// HEADERS.
    Headers {
        /// Its stream.
        stream: StreamId,
        /// A fragment of the field block.
        fragment: &'d [u8],
        /// It ends the stream.
        end_stream: bool,
        /// The block is complete.
        end_headers: bool,
        /// The stream that it depends on, by the deprecated scheme (RFC 9113 §5.3.2).
        dependency: Option<StreamId>,
    },
    /// CONTINUATION.
    Continuation {
        /// Its stream.
        stream: StreamId,
        /// A fragment of the field block.
        fragment: &'d [u8],
        /// The block is complete.
        end_headers: bool,
    },
    /// PRIORITY, which is deprecated. `dependency` is `None` if its length is wrong, which is an
    /// error of the stream (RFC 9113 §6.3).
    Priority {
        /// Its stream.
        stream: StreamId,
        /// The stream that it depends on.
        dependency: Option<StreamId>,
    },
    /// RST_STREAM.
    Reset {
        /// Its stream.
        stream: StreamId,
        /// Why the peer ends it.
        code: ErrorCode,
    },
    /// SETTINGS: parameters of six octets each.
    Settings {
        /// Identifiers and values.
        parameters: &'d [u8],
    },
    /// The acknowledgement of SETTINGS.
    SettingsAck,
    /// PING or its acknowledgement.
    Ping {
        /// The octets to be returned.
        payload: [u8; 8],
        /// It is an acknowledgement.
        ack: bool,
    },
    /// GOAWAY.
    GoAway {
        /// The last stream that the peer processes.
        last: StreamId,
        /// Why the peer ends the connection.
        code: ErrorCode,
    },
    /// WINDOW_UPDATE, of the connection or a stream.
    WindowUpdate {
        /// Its stream.
        stream: StreamId,
        /// Octets; 0 is an error, but of which kind depends on the stream.
        increment: u32,
    },
    /// PRIORITY_UPDATE (RFC 9218 §7.1).
    PriorityUpdate {
        /// The stream whose priority changes.
        stream: StreamId,
        /// The value of a `priority` field.
        value: &'d [u8],
    },
    /// A frame of an unknown type, which is ignored (RFC 9113 §5.5).
    Unknown,
}

/// Reads the payload of a frame whose header has been checked.
pub(super) fn parse<'d, 'i>(
    header: FrameHeader,
    payload: &'d [u8],
) -> Result<Frame<'d, 'i>, ConnectionError> {
    let FrameHeader { stream, .. } = header;
    let word = |at: usize| {
        let octets = payload.get(at..at + 4).and_then(|octets| octets.try_into().ok());
        octets.map(u32::from_be_bytes)
    };
    let id = |at| word(at).map(|word| StreamId(word & StreamId::MAX.0));
    let short = ConnectionError::frame_size("a frame of a wrong length");
    Ok(match header.kind {
        kind::HEADERS => return headers(header, payload),
        kind::CONTINUATION => {
            let end_headers = header.has(flag::END_HEADERS);
            Frame::Continuation { stream, fragment: payload, end_headers }
        }
        kind::PRIORITY => {
            Frame::Priority { stream, dependency: id(0).filter(|_| payload.len() == 5) }
        }
        kind::RST_STREAM => Frame::Reset { stream, code: ErrorCode(word(0).ok_or(short)?) },
        kind::SETTINGS if header.has(flag::ACK) => Frame::SettingsAck,
        kind::SETTINGS => Frame::Settings { parameters: payload },
        kind::PING => {
            let payload = payload.try_into().map_err(|_| short)?;
            Frame::Ping { payload, ack: header.has(flag::ACK) }
        }
        kind::GOAWAY => {
            let code = ErrorCode(word(4).ok_or(short)?);
            Frame::GoAway { last: id(0).ok_or(short)?, code }
        }
        kind::WINDOW_UPDATE => {
            Frame::WindowUpdate { stream, increment: word(0).ok_or(short)? & StreamId::MAX.0 }
        }
        kind::PRIORITY_UPDATE => {
            let (stream, value) = (id(0).ok_or(short)?, payload.get(4..).unwrap_or_default());
            Frame::PriorityUpdate { stream, value }
        }
        _ => Frame::Unknown,
    })
}

fn headers<'d, 'i>(
    header: FrameHeader,
    mut payload: &'d [u8],
) -> Result<Frame<'d, 'i>, ConnectionError> {
    let mut padding = 0;
    if header.has(flag::PADDED)
        && let Some((length, rest)) = payload.split_first()
    {
        (padding, payload) = (usize::from(*length), rest);
    }
    let mut dependency = None;
    if header.has(flag::PRIORITY)
        && let Some(([s0, s1, s2, s3, _weight], rest)) = payload.split_first_chunk()
    {
        dependency = Some(StreamId(u32::from_be_bytes([*s0, *s1, *s2, *s3]) & StreamId::MAX.0));
        payload = rest;
    }
    let length = payload.len().checked_sub(padding);
    let length = length.ok_or(ConnectionError::protocol("more padding than payload"))?;
    Ok(Frame::Headers {
        stream: header.stream,
        fragment: &payload[..length],
        end_stream: header.has(flag::END_STREAM),
        end_headers: header.has(flag::END_HEADERS),
        dependency,
    })
}
