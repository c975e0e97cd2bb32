//! HTTP/2 for a server, without I/O (RFC 9113, RFC 7541, RFC 9218).
//!
//! [`Connection`] takes the bytes of a client and returns requests. It takes responses and appends the
//! frames that may be sent to a [`UnitSink`]. Bodies of files do not pass through it: the sink receives
//! frame headers and ranges of files, so that any method of transfer can send these.
//!
//! ```
//! use karez_http::Status;
//! use karez_http::h2::{StreamBody, Connection, ConnectionLimits, Input, UnitSink, StreamId, hpack};
//! use std::ops::Range;
//! use std::time::Instant;
//!
//! /// Collects the output of a connection. Its files are byte strings.
//! #[derive(Default)]
//! struct Collected(Vec<u8>);
//!
//! impl UnitSink<&'static [u8]> for Collected {
//!     fn room(&self) -> u64 {
//!         64 << 10
//!     }
//!     fn bytes(&mut self, bytes: Vec<u8>) {
//!         self.0.extend(bytes);
//!     }
//!     fn unit(&mut self, _: StreamId, header: [u8; 9], file: &&'static [u8], range: Range<u64>) {
//!         self.0.extend(header);
//!         self.0.extend(&file[range.start as usize..range.end as usize]);
//!     }
//!     fn cancel(&mut self, _: StreamId) -> u64 {
//!         0
//!     }
//!     fn notify_sent(&mut self, _: StreamId) {}
//!     fn close(&mut self, _: &'static [u8]) {}
//! }
//!
//! let mut connection = Connection::new(ConnectionLimits::default());
//! // The preface, empty SETTINGS, and HEADERS of GET http://a/ on stream 1.
//! let mut bytes = &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
//!     \0\0\0\x04\0\0\0\0\0\
//!     \0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01a"[..];
//! while let Some(input) = connection.receive(Instant::now(), &mut bytes) {
//!     if let Input::Head { stream, request } = input {
//!         assert_eq!(request.request_line(), b"GET / HTTP/2.0");
//!         let mut block = Vec::new();
//!         hpack::BlockEncoder::new(&mut block).status(Status::Ok).number("Content-Length", 5);
//!         connection.respond(stream, block, StreamBody::File(&b"hello"[..], 0..5));
//!     }
//! }
//! let mut sink = Collected::default();
//! connection.fill(&mut sink);
//! // The body, and the frame that ends the stream.
//! assert!(sink.0.ends_with(b"\0\0\x05\0\0\0\0\0\x01hello\0\0\0\0\x01\0\0\0\x01"));
//! ```
//!
//! | part | types |
//! |---|---|
//! | the state of a connection | [`Connection`], [`Input`], [`ConnectionLimits`], [`Waiting`] |
//! | requests | [`Request`](crate::Request) |
//! | responses | [`StreamBody`], [`StreamPart`], [`encode`], [`hpack::BlockEncoder`] |
//! | output | [`UnitSink`], [`UnitEvent`] |
//! | frames | [`FrameDecoder`], [`FrameEncoder`], [`FrameHeader`] |
//! | errors | [`ConnectionError`], [`ErrorCode`] |
//!
//! # Limitations
//!
//! A server's side only. No server push, no `Upgrade: h2c` (deprecated by RFC 9113 §3.1), no extended
//! CONNECT (RFC 8441), no response trailers.

mod connection;
mod error;
mod frame;
mod frame_decoder;
mod head_encoder;
pub mod hpack;
mod limits;
mod priority;
mod request_builder;
mod settings;
mod sink;
mod stream;

pub use connection::{Connection, Input, Waiting};
pub use error::{ConnectionError, ErrorCode};
pub use frame::{
    DEFAULT_MAX_FRAME_SIZE, FrameEncoder, FrameHeader, HEADER_LENGTH, PREFACE, StreamId, flag, kind,
};
pub use frame_decoder::{Frame, FrameDecoder};
pub use head_encoder::encode;
pub use limits::{ConnectionLimits, Rate};
pub use priority::Priority;
pub use sink::{StreamBody, StreamPart, UnitEvent, UnitSink};
