//! Transfers on a tokio runtime: functions that drive the steps, and one-shot movements.
//!
//! Tokio 1.47, feature `tokio`. A step is tried when the runtime says that the socket is ready, and
//! where it answers that it has to wait, that readiness is cleared; nothing outside this module
//! knows of tokio. All has to run within a runtime whose I/O is enabled.
//!
//! What it does badly: what is written to a file is written on the thread of the runtime, which
//! waits when the kernel holds writers back; a transfer by `zerocopy` makes the runtime take the
//! socket's sending side for closed, see [`send`]; and after each short message a proxy makes a
//! call that finds nothing, where tokio's own reads know by the count that nothing is left.
//!
//! | owned by the caller, cancel safe | one shot | from → to |
//! |---|---|---|
//! | [`send`] | [`send_file`] | file → socket |
//! | [`receive`] | [`receive_to_file`] | socket → file |
//! | [`relay`], [`Proxy::run`] | [`proxy`] | socket → socket, one way or both |
//! | [`copy`] | [`copy_file`] | file → file |
//!
//! # SIGPIPE
//!
//! `sendfile`, `splice`, `auto` and a `zerocopy` that falls back may raise it, as
//! [everywhere](crate#sigpipe).
//!
//! # Cancel safety
//!
//! A future of the first column may be dropped at any point (`select!`, a timeout): the transfer
//! keeps what it holds, in a pipe or a buffer, and the next call goes on from that very byte. A
//! future of the second column owns its transfer. Dropping it loses no byte of a file, but what
//! was in flight from a socket, and the report. Where that matters take the first column.
//!
//! # Fairness
//!
//! After 1 MiB, and whenever tokio's budget is used up, other tasks have their turn. Cold pages of
//! a file are read by the blocking pool if the transfer is to tell ([`Cold::Tell`]), as those of
//! the one-shot functions are.
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
//! assert_eq!((report.bytes, report.ran), (10, Via::Sendfile));
//!
//! drop(socket);
//! let mut received = String::new();
//! peer.read_to_string(&mut received).await?;
//! assert_eq!(received, "the desert");
//! # Ok(())
//! # }
//! ```
//!
//! [`Cold::Tell`]: crate::Cold::Tell

mod drive;
mod error_queue;
mod files;
mod once;
mod pool;
mod proxy;
mod socket;
mod unfinished;

pub use drive::{receive, relay, send};
pub use files::{copy, copy_file};
pub use once::{receive_to_file, send_file};
pub use proxy::{Proxy, proxy};
pub use socket::Socket;
pub use unfinished::{Truncated, Unfinished};
