//! Every type of frame, each of its errors, and splits.

use super::{Frame, FrameDecoder};
use crate::h2::error::{ConnectionError, ErrorCode};
use crate::h2::frame::{FrameEncoder, FrameHeader, StreamId, flag, kind};
use proptest::prelude::*;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader::new(kind, flags, StreamId(stream), payload.len());
    [&header.encode()[..], payload].concat()
}

/// All frames of a stream of bytes as text, the parts of DATA joined, and how it ended.
fn frames<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<String>, Option<ConnectionError>) {
    let mut decoder = FrameDecoder::default();
    let (mut seen, mut data, mut error) = (Vec::new(), Vec::new(), None);
    for mut piece in pieces {
        loop {
            match decoder.next(&mut piece) {
                Ok(Some(Frame::DataPart { bytes, .. })) => {
                    assert!(!bytes.is_empty());
                    data.extend_from_slice(bytes);
                }
                Ok(Some(frame)) => {
                    if !data.is_empty() {
                        seen.push(format!("{:?}", std::mem::take(&mut data)));
                    }
                    seen.push(format!("{frame:?}"));
                }
                Ok(None) => break,
                Err(failed) => error = error.or(Some(failed)),
            }
        }
        assert!(piece.is_empty());
    }
    (seen, error)
}

fn one(bytes: &[u8]) -> Result<Vec<String>, ConnectionError> {
    let whole = frames(std::iter::once(bytes));
    assert_eq!(frames(bytes.chunks(1)), whole, "byte by byte");
    match whole {
        (_, Some(error)) => Err(error),
        (seen, None) => Ok(seen),
    }
}

fn code(bytes: &[u8]) -> ErrorCode {
    one(bytes).unwrap_err().code
}

#[test]
fn data_is_passed_on_without_its_padding() {
    let padded = frame(kind::DATA, flag::PADDED | flag::END_STREAM, 1, b"\x02abc\0\0");
    let expected = [
        "DataBegin { stream: StreamId(1), length: 6, padding: 3 }",
        "[97, 98, 99]",
        "DataEnd { stream: StreamId(1), end_stream: true }",
    ];
    assert_eq!(one(&padded).unwrap(), expected);
    let empty = frame(kind::DATA, 0, 1, b"");
    assert_eq!(one(&empty).unwrap().len(), 2);
    let only_padding = frame(kind::DATA, flag::PADDED, 1, b"\x01\0");
    assert_eq!(one(&only_padding).unwrap().len(), 2);
}

#[test]
fn headers_with_padding_and_priority() {
    let payload = b"\x01\x80\x00\x00\x03\x10block\0";
    let flags = flag::PADDED | flag::PRIORITY | flag::END_HEADERS;
    let mut decoder = FrameDecoder::default();
    let bytes = frame(kind::HEADERS, flags, 5, payload);
    assert_eq!(
        decoder.next(&mut &bytes[..]),
        Ok(Some(Frame::Headers {
            stream: StreamId(5),
            fragment: b"block",
            end_stream: false,
            end_headers: true,
            dependency: Some(StreamId(3)),
        }))
    );
    assert!(decoder.is_empty());
}

#[test]
fn control_frames() {
    let mut bytes = Vec::new();
    FrameEncoder::new(&mut bytes)
        .settings(&[(3, 100)])
        .settings_ack()
        .ping([7; 8], false)
        .ping([7; 8], true)
        .window_update(StreamId(0), 5)
        .window_update(StreamId(1), 5)
        .reset(StreamId(3), ErrorCode::CANCEL)
        .goaway(StreamId(5), ErrorCode::NO_ERROR, b"debug data");
    bytes.extend(frame(kind::PRIORITY, 0, 7, &[0x80, 0, 0, 9, 1]));
    bytes.extend(frame(kind::PRIORITY, 0, 7, &[0; 4]));
    bytes.extend(frame(kind::PRIORITY_UPDATE, 0, 0, b"\0\0\0\x07u=1"));
    bytes.extend(frame(0xfa, 0xff, 9, b"unknown"));
    bytes.extend(frame(0xfa, 0xff, 0, b""));
    let expected = [
        "Settings { parameters: [0, 3, 0, 0, 0, 100] }",
        "SettingsAck",
        "Ping { payload: [7, 7, 7, 7, 7, 7, 7, 7], ack: false }",
        "Ping { payload: [7, 7, 7, 7, 7, 7, 7, 7], ack: true }",
        "WindowUpdate { stream: StreamId(0), increment: 5 }",
        "WindowUpdate { stream: StreamId(1), increment: 5 }",
        "Reset { stream: StreamId(3), code: CANCEL }",
        "GoAway { last: StreamId(5), code: NO_ERROR }",
        "Priority { stream: StreamId(7), dependency: Some(StreamId(9)) }",
        "Priority { stream: StreamId(7), dependency: None }",
        "PriorityUpdate { stream: StreamId(7), value: [117, 61, 49] }",
        "Unknown",
        "Unknown",
    ];
    assert_eq!(one(&bytes).unwrap(), expected);
}

#[test]
fn sizes_are_checked() {
    for (kind, flags, stream, length) in [
        (kind::DATA, flag::PADDED, 1, 0),
        (kind::HEADERS, flag::PADDED, 1, 0),
        (kind::HEADERS, flag::PRIORITY, 1, 4),
        (kind::HEADERS, flag::PRIORITY | flag::PADDED, 1, 5),
        (kind::RST_STREAM, 0, 1, 3),
        (kind::RST_STREAM, 0, 1, 5),
        (kind::SETTINGS, 0, 0, 5),
        (kind::SETTINGS, flag::ACK, 0, 6),
        (kind::PING, 0, 0, 7),
        (kind::PING, flag::ACK, 0, 9),
        (kind::GOAWAY, 0, 0, 7),
        (kind::WINDOW_UPDATE, 0, 1, 3),
        (kind::WINDOW_UPDATE, 0, 0, 5),
        (kind::PRIORITY_UPDATE, 0, 0, 3),
        (kind::DATA, 0, 1, 16_385),
        (kind::HEADERS, 0, 1, 16_385),
        (0xfa, 0, 1, 16_385),
    ] {
        let bytes = frame(kind, flags, stream, &vec![0; length]);
        assert_eq!(code(&bytes), ErrorCode::FRAME_SIZE_ERROR, "{kind:#x} of {length}");
    }
    assert!(one(&frame(kind::DATA, 0, 1, &[0; 16_384])).is_ok());
}

#[test]
fn streams_are_checked() {
    for (kind, stream, length) in [
        (kind::DATA, 0, 1),
        (kind::HEADERS, 0, 1),
        (kind::PRIORITY, 0, 5),
        (kind::RST_STREAM, 0, 4),
        (kind::SETTINGS, 1, 6),
        (kind::PUSH_PROMISE, 1, 4),
        (kind::PING, 1, 8),
        (kind::GOAWAY, 1, 8),
        (kind::CONTINUATION, 1, 1),
        (kind::PRIORITY_UPDATE, 1, 4),
    ] {
        let bytes = frame(kind, 0, stream, &vec![0; length]);
        assert_eq!(code(&bytes), ErrorCode::PROTOCOL_ERROR, "{kind:#x} on {stream}");
    }
}

#[test]
fn padding_longer_than_the_payload_is_an_error() {
    let data = frame(kind::DATA, flag::PADDED, 1, b"\x02a");
    assert_eq!(code(&data), ErrorCode::PROTOCOL_ERROR);
    let headers = frame(kind::HEADERS, flag::PADDED, 1, b"\x02a");
    assert_eq!(code(&headers), ErrorCode::PROTOCOL_ERROR);
    let flags = flag::PADDED | flag::PRIORITY;
    let priority = frame(kind::HEADERS, flags, 1, b"\x01\0\0\0\0\0");
    assert_eq!(code(&priority), ErrorCode::PROTOCOL_ERROR);
}

#[test]
fn nothing_interrupts_a_field_block() {
    let open = frame(kind::HEADERS, 0, 1, b"a");
    let rest = frame(kind::CONTINUATION, flag::END_HEADERS, 1, b"b");
    assert_eq!(one(&[&open[..], &rest].concat()).unwrap().len(), 2);
    for other in [
        frame(kind::DATA, 0, 1, b"a"),
        frame(kind::HEADERS, flag::END_HEADERS, 1, b"a"),
        frame(kind::CONTINUATION, flag::END_HEADERS, 3, b"a"),
        frame(kind::SETTINGS, 0, 0, b""),
        frame(0xfa, 0, 0, b""),
    ] {
        assert_eq!(code(&[&open[..], &other].concat()), ErrorCode::PROTOCOL_ERROR);
        let closed = [&open[..], &rest, &rest].concat();
        assert_eq!(code(&closed), ErrorCode::PROTOCOL_ERROR, "it is complete");
    }
    let mut decoder = FrameDecoder::default();
    decoder.next(&mut &open[..]).unwrap();
    assert!(!decoder.is_empty());
}

#[test]
fn nothing_follows_an_error() {
    let mut decoder = FrameDecoder::default();
    let bytes = [frame(kind::PING, 0, 0, b""), frame(kind::SETTINGS, 0, 0, b"")].concat();
    let mut input = &bytes[..];
    assert!(decoder.next(&mut input).is_err());
    assert_eq!((decoder.next(&mut &bytes[..]), input), (Ok(None), &[][..]));
}

/// Frames, good and bad, and bytes that are none.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let kinds = prop_oneof![9 => 0_u8..10, 1 => Just(kind::PRIORITY_UPDATE), 1 => any::<u8>()];
    let lengths = prop_oneof![
        Just(4_usize),
        Just(5),
        Just(6),
        Just(8),
        Just(12),
        0_usize..30,
        Just(16_384),
        Just(16_385)
    ];
    let known = (kinds, any::<u8>(), 0_u32..4, lengths, any::<u8>()).prop_map(
        |(kind, flags, stream, length, fill)| {
            frame(kind, flags & 0x2d, stream, &vec![fill & 7; length])
        },
    );
    prop_oneof![12 => known, 1 => prop::collection::vec(any::<u8>(), 0..12)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn splits_do_not_matter(pieces in prop::collection::vec(piece(), 1..8), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        let bytes = pieces.concat();
        let whole = frames(std::iter::once(&bytes[..]));
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let parts = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]);
        prop_assert_eq!(frames(parts), whole.clone());
        prop_assert_eq!(frames(bytes.chunks(1)), whole);
    }
}
