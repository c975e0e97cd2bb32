//! HPACK: field lists to field blocks and back (RFC 7541).
//!
//! [`BlockDecoder`] keeps the dynamic table of one peer and decodes whole field blocks. It passes each
//! field by reference to its caller, which bounds the decoded list and may stop at any field, so a
//! block that expands a thousandfold (an "HPACK bomb") costs no more than the caller allows.
//! [`BlockEncoder`] uses the static table and literals that are not indexed. It has no state, so an
//! encoded block is valid on every connection and can be kept per open file, and two blocks appended
//! to each other are one.
//!
//! # Limitations
//!
//! A block is decoded when it is complete; the caller bounds its length. Responses are larger than
//! those of an encoder with a dynamic table: by about 20 bytes for each field that repeats.

mod decoder;
mod dynamic_table;
mod encoder;
mod error;
mod huffman;
mod integer;
mod static_table;

pub use decoder::BlockDecoder;
pub use encoder::BlockEncoder;
pub use error::CompressionError;
