//! Transfers on a tokio runtime: functions that drive the steps, and one-shot transfers.
//!
//! Tokio 1.47, feature `tokio`. A step is tried when the runtime reports that the socket is ready; if it
//! blocks, that readiness is cleared. The functions must run within a runtime whose I/O is enabled.
//!
//! # Limitations
//!
//! Writes to a file run on the thread of the runtime, which blocks while the kernel throttles
//! writers. After a transfer by `zerocopy` the runtime regards the sending side of the socket as
//! closed, see [`send`]. After each short message a proxy makes one call that finds no bytes; tokio's own
//! reads avoid it by comparing the count.
//!
//! | owned by the caller, cancel safe | by polling | one shot | from → to |
//! |---|---|---|---|
//! | [`send`] | [`poll_send`], [`poll_send_some`] | [`send_file`] | file or outbox → socket |
//! | [`receive`] | [`poll_receive`] | [`receive_to_file`] | socket → file |
//! | [`relay`], [`Proxy::run`] | [`poll_relay`] | [`proxy`] | socket → socket, one way or both |
//! | [`copy`] | [`poll_copy`] | [`copy_file`] | file → file |
//!
//! # Pipes
//!
//! The functions above call send(2) and recv(2), so a pipe is no [`Socket`]; nor could tokio's pipes clear their
//! readiness after a call of another library before tokio 1.52. [`AsyncFd`](::tokio::io::unix::AsyncFd) waits for
//! the steps of a [`Piped`](crate::Piped), in either direction:
//!
//! ```
//! use karez_transfer::{Piped, Progress, Via};
//! use std::{io::Write, os::fd::AsFd};
//! use tokio::{io::unix::AsyncFd, net::unix::pipe};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let mut file = tempfile::tempfile()?;
//! file.write_all(b"water under the desert")?;
//! let (sender, mut receiver) = pipe::pipe()?;
//!
//! # #[allow(deprecated)]
//! let pipe = AsyncFd::new(sender.into_nonblocking_fd()?)?;
//! let mut transfer = Piped::from_file(6..22, Via::Splice);
//! loop {
//!     let mut ready = pipe.writable().await?;
//!     match transfer.step(file.as_fd(), pipe.as_fd())? {
//!         Progress::Moved(_) => {}
//!         Progress::NeedsWritable => ready.clear_ready(),
//!         Progress::Done => break,
//!         other => return Err(std::io::Error::other(other.to_string())),
//!     }
//! }
//! drop(pipe);
//! # let mut received = String::new();
//! # tokio::io::AsyncReadExt::read_to_string(&mut receiver, &mut received).await?;
//! # assert_eq!(received, "under the desert");
//! # Ok(())
//! # }
//! ```
//!
//! # SIGPIPE
//!
//! `sendfile`, `splice`, `auto` and a `zerocopy` that falls back may raise it, as
//! [everywhere](crate#sigpipe).
//!
//! # Cancel safety
//!
//! A future of the first column may be dropped at any point (`select!`, a timeout): the transfer
//! keeps its buffered bytes, in a pipe or in memory, and the next call continues from the same byte. A
//! one-shot future owns its transfer. Dropping it loses no byte of a file, but it loses the
//! bytes in flight from a socket, and the report. If that matters, use the first column, or poll.
//!
//! # Fairness
//!
//! After 1 MiB, and whenever tokio's budget is used up, other tasks run. With [`OnMiss::Report`], and in
//! the one-shot functions, the blocking pool reads the pages of a file that are not in memory.
//!
//! ```
//! use karez_transfer::{Via, tokio::send_file};
//! use std::{fs::File, io::Write};
//! use tokio::{io::AsyncReadExt, net::{TcpListener, TcpStream}};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let mut file = tempfile::tempfile()?;
//! file.write_all(b"under the desert")?;
//!
//! let listener = TcpListener::bind("127.0.0.1:0").await?;
//! let mut peer = TcpStream::connect(listener.local_addr()?).await?;
//! let (socket, _) = listener.accept().await?;
//!
//! let report = send_file(&socket, &file, 6..16, Via::Sendfile).await?;
//! assert_eq!((report.bytes, report.effective), (10, Via::Sendfile));
//!
//! drop(socket);
//! let mut received = String::new();
//! peer.read_to_string(&mut received).await?;
//! assert_eq!(received, "the desert");
//! # Ok(())
//! # }
//! ```
//!
//! [`OnMiss::Report`]: crate::OnMiss::Report

mod drive;
mod error_queue;
mod files;
mod once;
mod outgoing;
mod poll;
mod pool;
mod proxy;
mod socket;
mod unfinished;

pub use drive::{receive, relay, send};
pub use files::{copy, copy_file};
pub use once::{receive_to_file, send_file};
pub use outgoing::Outgoing;
pub use poll::{PollState, poll_copy, poll_receive, poll_relay, poll_send, poll_send_some};
pub use proxy::{Proxy, proxy};
pub use socket::Socket;
pub use unfinished::Unfinished;

pub use crate::run_blocking::Truncated;
