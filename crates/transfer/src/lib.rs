//! Ways to *move* bytes on Linux, as step functions.
//!
//! A [`FileToSocket`] is one movement of a part of a file to a socket. It is a state machine: each
//! [`step`](FileToSocket::step) does a bounded amount of work and says how far it came, so a blocking
//! loop, a reactor or an async runtime can drive it. How the bytes travel is its [`Via`]; where
//! the kernel refuses one, the transfer goes a rung down the ladder from the exact byte reached,
//! and its [`Report`] says what was asked, what ran and why.
//!
//! An [`Outbox`] is the ordered queue of what a connection has ready to go: memory and parts of
//! files. It is driven by the same kind of step.
//!
//! ```
//! use karez_transfer::{FileToSocket, Outbox, Progress, Via};
//! use std::io::{Read, Write};
//! use std::os::fd::AsFd;
//! use std::os::unix::net::UnixStream;
//! use std::sync::Arc;
//!
//! # fn main() -> std::io::Result<()> {
//! let mut file = tempfile::tempfile()?;
//! file.write_all(b"under the desert")?;
//!
//! let (out, mut peer) = UnixStream::pair()?;
//! let mut outbox = Outbox::new();
//! outbox.push_bytes(b"water: ".to_vec());
//! outbox.push_file(FileToSocket::new(Arc::new(file), 6..16, Via::Sendfile));
//! loop {
//!     match outbox.step(out.as_fd())? {
//!         Progress::Moved(_) => {}
//!         Progress::Done => break,
//!         Progress::Truncated { missing } => panic!("the file ended {missing} bytes early"),
//!         wait => panic!("a blocking socket waits inside the call: {wait:?}"),
//!     }
//! }
//! drop(out);
//!
//! let mut received = String::new();
//! peer.read_to_string(&mut received)?;
//! assert_eq!(received, "water: the desert");
//! # Ok(())
//! # }
//! ```
//!
//! Zero copy is by reference: what `sendfile` queued may still change, if somebody writes to the
//! file, until the peer has received it.

mod aligned;
mod cache;
mod course;
mod direction;
mod ends;
mod engine;
mod file_to_file;
mod file_to_socket;
mod ladder;
mod outbox;
mod pipe;
mod report;
mod residency;
mod scratch;
mod settings;
mod socket_to_file;
mod socket_to_socket;
mod step;
#[cfg(feature = "tokio")]
pub mod tokio;
mod transfer;
mod via;
mod window;

pub use direction::Direction;
pub use file_to_file::FileToFile;
pub use file_to_socket::{FileToSocket, Source};
pub use outbox::Outbox;
pub use report::{Calls, Copied, Fallback, Notifications, Report};
pub use residency::ColdPart;
pub use settings::{CachePolicy, Cold, Settings, UnknownCachePolicy};
pub use socket_to_file::SocketToFile;
pub use socket_to_socket::SocketToSocket;
pub use step::{Edit, Progress};
pub use via::{UnknownVia, Via};
