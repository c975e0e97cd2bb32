//! HTTP/1.1 (RFC 9112): the decoder of requests, the encoder of response heads, and both together as the
//! [`Session`] of one connection.
//!
//! # Limitations
//!
//! Only the server's side exists. `Upgrade` and CONNECT are not supported.

mod chunked;
mod decoder;
mod encoder;
pub(crate) mod field_section;
pub(crate) mod request_scan;
mod session;

pub use decoder::{Decoder, Event};
pub use encoder::{KeepAlive, LAST_CHUNK, chunk, encode};
pub use session::{Abort, Next, Session};
