//! HTTP for a server, as pure functions and state machines: no socket, no file and no clock (RFC 9110,
//! RFC 9112).
//!
//! Received bytes go in; requests come out, and bytes to send. The caller does the I/O and passes the
//! time in.
//!
//! ```
//! use karez_http::h1::{self, Decoder, Event};
//! use karez_http::{BodyLength, Field, Limits, Method, ResponseHead, Status, target};
//!
//! // Received bytes are pushed in pieces of any size.
//! let mut decoder = Decoder::new(Limits::default());
//! decoder.push(b"GET /notes/ HTTP/1.1\r\nHost: exam");
//! assert!(decoder.next()?.is_none());
//! decoder.push(b"ple.org\r\n\r\n");
//! let Some(Event::Head(request)) = decoder.next()? else { panic!("incomplete") };
//! assert!(matches!(decoder.next()?, Some(Event::End { complete: true })));
//! assert!(decoder.is_empty());
//!
//! assert_eq!(request.method(), Method::Get);
//! assert_eq!(request.value(Field::Host), Some(&b"example.org"[..]));
//! let target = target::parse(request.target())?;
//! assert_eq!(target.path, b"notes");
//! assert!(target.directory && request.persistent());
//!
//! let mut head = ResponseHead::new(Status::Ok);
//! head.field("Content-Type", "text/plain").length(BodyLength::Known(5));
//! let mut out = Vec::new();
//! h1::encode(&head, h1::KeepAlive::Implicit, true, &mut out);
//! assert!(out.starts_with(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | task | items |
//! |---|---|
//! | HTTP/1.1 connection: requests in, responses out | [`h1::Session`], [`Body`], [`Sink`] |
//! | bytes to requests | [`h1::Decoder`], [`Limits`], [`Request`], [`RequestError`] |
//! | target to path and back | [`target`] |
//! | representation to send | [`range`], [`multipart`], [`encoding`] |
//! | conditional requests | [`condition`], [`EntityTag`], [`date`] |
//! | clients behind proxies | [`forwarded`], [`proxy_protocol`] |
//! | response | [`ResponseHead`], [`Prepared`], [`Status`], [`h1::encode`] |
//!
//! Everything outside [`h1`] is the same for every version of HTTP.
//!
//! # Limitations
//!
//! The crate is made for a server of files. Only the methods, statuses and request fields of such a
//! server are known by name; unknown fields are found by [`Request::fields`].

mod authority;
mod body;
pub mod buffers;
pub mod condition;
pub mod date;
mod decimal;
pub mod encoding;
mod error;
pub mod etag;
mod field;
mod field_value;
pub mod forwarded;
mod grammar;
pub mod h1;
pub mod h2;
mod limits;
mod method;
pub mod multipart;
mod prepared;
pub mod proxy_protocol;
pub mod range;
mod request;
mod response;
mod status;
pub mod target;
mod version;

pub use body::{Body, BodyPart, Sink};
pub use condition::{Dates, Validators};
pub use encoding::{Coding, Codings};
pub use error::RequestError;
pub use etag::{EntityTag, Timestamp};
pub use field::Field;
pub use field_value::FieldValue;
pub use limits::{LARGEST_HEAD, Limits};
pub use method::Method;
pub use multipart::Multipart;
pub use prepared::{Prepared, PreparedPart, PreparedStart};
pub use range::{ByteRange, Selection};
pub use request::{Fields, Request, Values};
pub use response::{BodyLength, HeadItem, ResponseHead};
pub use status::Status;
pub use target::{BadTarget, Target};
pub use version::Version;
