//! Response heads as field blocks (RFC 9113 §8.3.2).

use super::hpack::BlockEncoder;
use crate::response::{BodyLength, HeadItem, ResponseHead};

/// Appends a response head as a field block.
///
/// ```
/// use karez_http::{BodyLength, ResponseHead, Status, h2};
///
/// let mut head = ResponseHead::new(Status::NotModified);
/// head.field("Allow", "GET").length(BodyLength::Known(5));
/// let mut block = Vec::new();
/// h2::encode(&head, &mut block);
/// assert_eq!(block, b"\x8b\x0f\x07\x03GET\x0f\x0d\x015");
/// ```
pub fn encode(head: &ResponseHead, out: &mut Vec<u8>) {
    out.reserve(INITIAL_CAPACITY);
    let mut encoder = BlockEncoder::new(out);
    encoder.status(head.status());
    for item in head.items() {
        match item {
            HeadItem::Field(name, value) => match value.as_number() {
                Some(number) => drop(encoder.number(name, number)),
                None => drop(encoder.field(name, &value.bytes())),
            },
            HeadItem::Length(BodyLength::Known(length)) => {
                encoder.number("content-length", *length);
            }
            // The end of the stream is the end of the body.
            HeadItem::Length(BodyLength::Streamed) => {}
            HeadItem::Prepared(part) => {
                encoder.block(head.prepared().map_or(&[][..], |it| it.field_block(*part)));
            }
        }
    }
}

/// Most heads are not longer.
const INITIAL_CAPACITY: usize = 256;

#[cfg(test)]
mod tests {
    use super::encode;
    use crate::encoding::Coding;
    use crate::h2::hpack::{BlockDecoder, CompressionError};
    use crate::prepared::{Prepared, PreparedPart, PreparedStart};
    use crate::response::{BodyLength, ResponseHead};
    use crate::status::Status;
    use std::sync::Arc;

    #[test]
    fn every_item_of_a_head_is_encoded_in_order() {
        let prepared = Prepared::new("text/css", Some(Coding::Brotli), None, Some(0));
        let mut head = ResponseHead::new(Status::Ok);
        head.field("Date", "now").field("X-Count", 7_u64).length(BodyLength::Known(12));
        let part = PreparedPart { from: PreparedStart::Type, last_modified: true };
        head.prepared_fields(&Arc::new(prepared), part);
        let (mut block, mut fields) = (Vec::new(), Vec::new());
        encode(&head, &mut block);
        BlockDecoder::new(0)
            .decode(&block, |name, value| {
                fields.push([name, b": ", value].concat());
                Ok::<_, CompressionError>(())
            })
            .unwrap();
        let expected: [&[u8]; 7] = [
            b":status: 200",
            b"date: now",
            b"x-count: 7",
            b"content-length: 12",
            b"content-type: text/css",
            b"content-encoding: br",
            b"last-modified: Thu, 01 Jan 1970 00:00:00 GMT",
        ];
        assert_eq!(fields, expected);
    }
}
