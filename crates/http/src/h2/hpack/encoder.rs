//! Fields to field blocks, without a dynamic table (RFC 7541 §6.1, §6.2.2).
//!
//! # Limitations
//!
//! No field is marked as never indexed: nothing that this server sends is a secret of the client
//! (RFC 7541 §7.1.3).

use super::{huffman, integer, static_table};
use crate::decimal::{self, MAX_DIGITS};
use crate::status::Status;

/// Appends fields to a block. The block may be sent on any connection, and blocks may be appended to
/// each other.
///
/// No value can contain a line break: CR, LF and NUL become spaces. Debug builds panic at one, since
/// it is a bug of the caller.
#[derive(Debug)]
pub struct BlockEncoder<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> BlockEncoder<'a> {
    /// Begins to append to `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// Appends `:status`, which precedes all other fields (RFC 9113 §8.3.2).
    pub fn status(&mut self, status: Status) -> &mut Self {
        match static_table::index_of_status(status.code()) {
            Some(index) => integer::push(self.out, 0x80, 7, index),
            None => {
                // The index of a `:status`, whose name is used.
                integer::push(self.out, 0, 4, 8);
                let mut place = [0; MAX_DIGITS];
                self.string(decimal::digits(status.code().into(), &mut place));
            }
        }
        self
    }

    /// Appends a field. The name is sent in lower case.
    pub fn field(&mut self, name: &str, value: &[u8]) -> &mut Self {
        let clean = !value.iter().any(breaks_line);
        debug_assert!(clean, "a line break in {name}");
        self.name(name);
        if clean {
            self.string(value);
        } else {
            let clean = |octet: &u8| if breaks_line(octet) { b' ' } else { *octet };
            let value: Vec<u8> = value.iter().map(clean).collect();
            self.string(&value);
        }
        self
    }

    /// Appends a field with a decimal number.
    pub fn number(&mut self, name: &str, value: u64) -> &mut Self {
        self.name(name);
        self.string(decimal::digits(value, &mut [0; MAX_DIGITS]));
        self
    }

    /// Appends fields that were encoded before.
    pub fn block(&mut self, fields: &[u8]) -> &mut Self {
        self.out.extend_from_slice(fields);
        self
    }

    /// Appends the beginning of a literal that is not indexed, up to its value.
    fn name(&mut self, name: &str) {
        let index = static_table::index_of(name.as_bytes());
        integer::push(self.out, 0, 4, index.unwrap_or(0));
        if index.is_none() {
            self.string(name.to_ascii_lowercase().as_bytes());
        }
    }

    /// Appends a string in the shorter of its two forms (§5.2).
    fn string(&mut self, text: &[u8]) {
        let coded = huffman::encoded_length(text);
        if coded < text.len() {
            integer::push(self.out, 0x80, 7, coded);
            huffman::encode(text, self.out);
        } else {
            integer::push(self.out, 0, 7, text.len());
            self.out.extend_from_slice(text);
        }
    }
}

fn breaks_line(octet: &u8) -> bool {
    matches!(octet, b'\r' | b'\n' | 0)
}

#[cfg(test)]
mod tests {
    use super::BlockEncoder;
    use crate::h2::hpack::{BlockDecoder, CompressionError};
    use crate::status::Status;

    fn decode(block: &[u8]) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        BlockDecoder::new(0)
            .decode(block, |name, value| {
                fields.push((text(name), text(value)));
                Ok::<_, CompressionError>(())
            })
            .unwrap();
        fields
    }

    #[test]
    fn every_status_and_fields_round_trip_without_a_table() {
        for status in Status::ALL {
            let (mut block, mut kept) = (Vec::new(), Vec::new());
            BlockEncoder::new(&mut kept).field("ETag", b"\"5-a\"").number("Content-Length", 1234);
            BlockEncoder::new(&mut block)
                .status(*status)
                .field("X-Strange", "b\u{fc}cher".as_bytes())
                .block(&kept);
            let expected = [
                (":status", &*status.code().to_string()),
                ("x-strange", "b\u{fc}cher"),
                ("etag", "\"5-a\""),
                ("content-length", "1234"),
            ];
            assert_eq!(decode(&block), expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
        }
    }

    #[test]
    fn a_status_of_the_static_table_is_one_octet() {
        let mut block = Vec::new();
        BlockEncoder::new(&mut block).status(Status::Ok).status(Status::NotModified);
        assert_eq!(block, [0x88, 0x8b]);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic = "a line break in location"]
    fn debug_builds_panic_at_a_line_break() {
        BlockEncoder::new(&mut Vec::new()).field("location", b"/\r\nx: y");
    }
}
