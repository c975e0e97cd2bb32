//! HTTP/1.1 for a server of files, as pure functions and state machines: no socket, no file, no
//! clock (RFC 9110, RFC 9112).
//!
//! Bytes go in, requests and heads come out; the caller does the I/O and tells the time.
//!
//! ```
//! use karez_http::{Decoder, Field, Head, Limits, Method, Status, target};
//!
//! // What the peer sends comes in pieces of any size.
//! let mut decoder = Decoder::new(Limits::default());
//! decoder.push(b"GET /notes/ HTTP/1.1\r\nHost: exam");
//! assert!(decoder.next()?.is_none());
//! decoder.push(b"ple.org\r\n\r\n");
//! let request = decoder.next()?.expect("it is complete");
//! assert!(decoder.is_empty());
//!
//! assert_eq!(request.method(), Method::Get);
//! assert_eq!(request.value(Field::Host), Some(&b"example.org"[..]));
//! let target = target::parse(request.target())?;
//! assert_eq!(target.path, b"notes");
//! assert!(target.directory && request.persistent());
//!
//! let mut out = Vec::new();
//! Head::new(&mut out, Status::Ok)
//!     .field("Content-Type", b"text/plain")
//!     .number("Content-Length", 5)
//!     .end();
//! assert!(out.starts_with(b"HTTP/1.1 200 OK\r\nContent-Type: "));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | what | where |
//! |---|---|
//! | bytes to requests | [`Decoder`], [`Limits`], [`Request`], [`Refusal`] |
//! | target to path and back | [`target`] |
//! | what to send of a file | [`range`], [`multipart`], [`encoding`] |
//! | whether to send it | [`condition`], [`EntityTag`], [`date`] |
//! | the answer | [`Head`], [`Status`], [`response`] |

pub mod accept;
mod authority;
mod chunked;
pub mod condition;
pub mod date;
mod decimal;
mod decoder;
pub mod encoding;
pub mod etag;
mod field;
mod head;
mod limits;
mod method;
pub mod multipart;
pub mod range;
mod refusal;
mod request;
pub mod response;
mod section;
mod status;
pub mod target;

pub use condition::{Dates, Validators};
pub use decoder::Decoder;
pub use encoding::{Coding, Codings};
pub use etag::{EntityTag, Timestamp};
pub use field::Field;
pub use head::Version;
pub use limits::{LARGEST_HEAD, Limits};
pub use method::{ALLOW, Method};
pub use multipart::Multipart;
pub use range::{ByteRange, Selection};
pub use refusal::Refusal;
pub use request::{Fields, Request, Values};
pub use response::Head;
pub use status::Status;
pub use target::{BadTarget, Target};
