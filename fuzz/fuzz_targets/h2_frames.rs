//! Fuzzes the HTTP/2 frame decoder and the HPACK decoder with arbitrary bytes in pieces of any size.
//!
//! The first byte is the size of the pieces. The split does not change the decoded frames, and a frame
//! that a server may send is encoded and decoded again. All field blocks are decoded with one dynamic
//! table, as on a connection.
#![no_main]

use karez_http::h2::hpack::{BlockDecoder, CompressionError};
use karez_http::h2::{Frame, FrameDecoder, FrameEncoder};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [piece, bytes @ ..] = input else {
        return;
    };
    let whole = frames(std::iter::once(bytes));
    assert_eq!(frames(bytes.chunks(1)), whole);
    assert_eq!(frames(bytes.chunks(usize::from(*piece).max(2))), whole);
    let _ = decode(&mut BlockDecoder::new(4096), bytes);
});

fn frames<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<String>, String) {
    let mut decoder = FrameDecoder::default();
    let mut blocks = BlockDecoder::new(256);
    let (mut seen, mut data, mut end) = (Vec::new(), Vec::new(), String::new());
    for mut piece in pieces {
        loop {
            match decoder.next(&mut piece) {
                Ok(Some(Frame::DataPart { bytes, .. })) => data.extend_from_slice(bytes),
                Ok(Some(frame)) => {
                    seen.push(format!("{frame:?} behind {data:?}"));
                    data.clear();
                    encode_again(frame);
                    if let Frame::Headers { fragment, .. } = frame {
                        seen.push(format!("{:?}", decode(&mut blocks, fragment)));
                    }
                }
                Ok(None) => break,
                Err(error) => end = error.to_string(),
            }
        }
        assert!(piece.is_empty());
    }
    (seen, end)
}

fn encode_again(frame: Frame<'_, '_>) {
    let mut out = Vec::new();
    let mut encoder = FrameEncoder::new(&mut out);
    match frame {
        Frame::Ping { payload, ack } => encoder.ping(payload, ack),
        Frame::Reset { stream, code } => encoder.reset(stream, code),
        Frame::SettingsAck => encoder.settings_ack(),
        Frame::GoAway { last, code } => encoder.goaway(last, code, b""),
        Frame::WindowUpdate { stream, increment } if increment > 0 => {
            encoder.window_update(stream, increment)
        }
        _ => return,
    };
    assert_eq!(FrameDecoder::default().next(&mut &out[..]), Ok(Some(frame)));
}

/// Returns the fields, up to 64 KiB, or the error.
fn decode(decoder: &mut BlockDecoder, block: &[u8]) -> Result<Vec<Vec<u8>>, CompressionError> {
    let (mut fields, mut size) = (Vec::new(), 0);
    decoder.decode(block, |name, value| {
        size += name.len() + value.len() + 32;
        if size > 64 << 10 {
            return Err(CompressionError("the test's own limit"));
        }
        fields.push([name, b": ", value].concat());
        Ok(())
    })?;
    Ok(fields)
}
