//! Steps of transfers with a socket, each when the runtime reports readiness.
//!
//! The first step of a call is tried at once, because it may not block. Later ones are made
//! under the readiness of the socket that blocked, so that exactly that is cleared.
//!
//! # Limitations
//!
//! If the first step, or the other socket of a relay, blocks, the step is made once more before tokio
//! clears the readiness.

use ::tokio::io::Interest;
use ::tokio::task::{consume_budget, yield_now};
use std::io;
use std::os::fd::AsFd as _;

use super::error_queue::Poller;
use super::outgoing::Outgoing;
use super::pool::page_in;
use super::socket::Socket;
use crate::run_blocking::Truncated;
use crate::socket_to_file::SocketToFile;
use crate::socket_to_socket::SocketToSocket;
use crate::step::Progress;

/// The most bytes that move before other tasks run.
pub(super) const BUDGET: u64 = 1 << 20;

/// Drives a part of a file, or an [`Outbox`](crate::Outbox) with memory and files, to its end.
///
/// With [`OnMiss::Report`](crate::OnMiss::Report), or after [`report_misses`](crate::Outbox::report_misses),
/// the blocking pool reads pages that are not in memory;
/// otherwise a step blocks on the disk, and the thread of the runtime with it.
///
/// # Cancel safety
/// No byte is lost: the next call continues from the same byte. A read in the pool completes.
///
/// # Errors
/// As [`FileToSocket::step`](crate::FileToSocket::step). A file that ends early is `UnexpectedEof` with [`Truncated`] inside.
///
/// ```
/// use karez_transfer::{FileToSocket, Outbox, Via, tokio::send};
/// # use std::io::Write;
/// # use tokio::{io::AsyncReadExt, net::UnixStream};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// # let (socket, mut peer) = UnixStream::pair()?;
/// # let mut file = tempfile::tempfile()?;
/// # file.write_all(b"under the desert")?;
/// let mut outbox = Outbox::from(b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n".to_vec());
/// outbox.push_file(FileToSocket::new(file, .., Via::Auto));
/// outbox.report_misses(); // the blocking pool reads what is not in memory
/// send(&mut outbox, &socket).await?; // the head and the file share segments of TCP
/// # drop(socket);
/// # let mut all = String::new();
/// # peer.read_to_string(&mut all).await?;
/// # assert!(all.ends_with("\r\n\r\nunder the desert"));
/// # Ok(())
/// # }
/// ```
///
/// # After `zerocopy`
/// Its completions arrive through the error queue of the socket, which tokio interprets as the end of
/// the sending side. The functions of this module handle that, but tokio's own writes spin from then
/// on while the socket is full. `TcpStream::from_std(stream.into_std()?)` resets that state.
///
/// ```
/// use karez_transfer::{FileToSocket, Via, tokio::send};
/// use std::{io::Write, sync::Arc};
/// # use tokio::{io::AsyncReadExt, net::UnixStream};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// # let (socket, mut peer) = UnixStream::pair()?;
/// let mut file = tempfile::tempfile()?;
/// file.write_all(b"under the desert")?;
/// # let (_stop, stopped) = tokio::sync::oneshot::channel::<()>();
/// let mut transfer = FileToSocket::new(Arc::new(file), 0..16, Via::Splice);
/// tokio::select! {
///     sent = send(&mut transfer, &socket) => sent?,
///     _ = stopped => {} // `send` may be called again
/// }
/// assert_eq!(transfer.report().bytes, 16);
/// # drop(socket);
/// # let mut all = String::new();
/// # peer.read_to_string(&mut all).await?;
/// # assert_eq!(all, "under the desert");
/// # Ok(())
/// # }
/// ```
pub async fn send<T: Outgoing, S: Socket>(transfer: &mut T, socket: &S) -> io::Result<()> {
    let fd = socket.descriptor().as_fd();
    let mut driver = Driver::default();
    let mut wait = None;
    loop {
        let progress = driver.step(socket, wait, || transfer.step_at_most(fd, u64::MAX)).await?;
        wait = match progress {
            Progress::Moved(bytes) => driver.yield_after(bytes, Interest::WRITABLE).await,
            Progress::NeedsWorker => {
                page_in(transfer).await?;
                None
            }
            Progress::Done => return Ok(()),
            Progress::Truncated { missing } => return Err(Truncated { missing }.into()),
            waits => interest(waits),
        };
        if transfer.is_sent() && progress != Progress::NeedsZerocopyCompletion {
            wait = None;
        }
    }
}

/// Drives a transfer to its end: to its length, or until the peer closes.
///
/// Writes into the page cache do not use the blocking pool: they block only while the kernel
/// throttles writers that exceed the speed of the disk, and with
/// [`CachePolicy::Drop`](crate::CachePolicy::Drop).
///
/// # Cancel safety
/// No byte is lost: bytes that left the socket and have not reached the file stay in the transfer
/// ([`SocketToFile::in_flight`]), and the next call continues with them.
///
/// # Errors
/// As [`SocketToFile::step`]; after `ENOSPC` it may be called again. A peer that closes early is
/// `UnexpectedEof` with [`Truncated`] inside.
///
/// ```
/// use karez_transfer::{SocketToFile, Via, tokio::receive};
/// use std::sync::Arc;
/// # use tokio::{io::AsyncWriteExt, net::UnixStream};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// # let (socket, mut peer) = UnixStream::pair()?;
/// # peer.write_all(b"under the desert").await?;
/// let file = Arc::new(tempfile::tempfile()?);
/// let mut transfer = SocketToFile::new(file.clone(), 0, Some(16), Via::Auto);
/// receive(&mut transfer, &socket).await?;
/// assert_eq!(file.metadata()?.len(), 16);
/// # Ok(())
/// # }
/// ```
pub async fn receive<S: Socket>(transfer: &mut SocketToFile, socket: &S) -> io::Result<()> {
    let fd = socket.descriptor().as_fd();
    let mut driver = Driver::default();
    let mut wait = None;
    loop {
        let progress = driver.step(socket, wait, || transfer.step(fd)).await?;
        wait = match progress {
            Progress::Moved(bytes) => driver.yield_after(bytes, Interest::READABLE).await,
            Progress::Done => return Ok(()),
            Progress::Truncated { missing } => return Err(Truncated { missing }.into()),
            waits => interest(waits),
        };
        // Bytes in flight, or a complete transfer, need not wait for the peer.
        if transfer.remaining() == Some(0) || transfer.in_flight() > 0 {
            wait = None;
        }
    }
}

/// Drives a transfer to its end: one direction of a proxy. The caller passes the end on;
/// [`Proxy`](super::Proxy) does so in both directions.
///
/// While `from` is idle, `to` is not polled: a close by its peer is noticed with the next bytes for
/// it.
///
/// # Cancel safety
/// No byte is lost: bytes that left one socket and have not entered the other stay in the
/// transfer ([`SocketToSocket::in_flight`]), and the next call continues with them.
///
/// # Errors
/// As [`SocketToSocket::step`]. A peer that closes early is `UnexpectedEof` with [`Truncated`]
/// inside.
///
/// ```
/// use karez_transfer::{SocketToSocket, Via, tokio::relay};
/// # use tokio::{io::{AsyncReadExt, AsyncWriteExt}, net::UnixStream};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// # let (mut spring, from) = UnixStream::pair()?;
/// # let (to, mut field) = UnixStream::pair()?;
/// # spring.write_all(b"under the desert").await?;
/// let mut transfer = SocketToSocket::new(Some(16), Via::Splice);
/// relay(&mut transfer, &from, &to).await?;
/// assert_eq!(transfer.in_flight(), 0);
/// # let mut all = [0; 16];
/// # field.read_exact(&mut all).await?;
/// # assert_eq!(&all, b"under the desert");
/// # Ok(())
/// # }
/// ```
pub async fn relay<F: Socket, T: Socket>(
    transfer: &mut SocketToSocket,
    from: &F,
    to: &T,
) -> io::Result<()> {
    let mut driver = Driver::default();
    let mut wait = None;
    loop {
        let step = || transfer.step(from.descriptor().as_fd(), to.descriptor().as_fd());
        let progress = match wait {
            Some(Interest::READABLE) => driver.step(from, wait, step).await?,
            _ => driver.step(to, wait, step).await?,
        };
        wait = match progress {
            Progress::Moved(bytes) => driver.yield_after(bytes, Interest::READABLE).await,
            Progress::Done => return Ok(()),
            Progress::Truncated { missing } => return Err(Truncated { missing }.into()),
            waits => interest(waits),
        };
        // Bytes in flight are sent first.
        if transfer.in_flight() > 0 {
            wait = Some(Interest::WRITABLE);
        } else if transfer.remaining() == Some(0) {
            wait = None;
        }
    }
}

/// Returns the interest to wait for.
pub(super) fn interest(progress: Progress) -> Option<Interest> {
    match progress {
        Progress::NeedsReadable => Some(Interest::READABLE),
        Progress::NeedsWritable => Some(Interest::WRITABLE),
        Progress::NeedsZerocopyCompletion => Some(Interest::ERROR),
        _ => None,
    }
}

/// The state of one call.
#[derive(Debug, Default)]
struct Driver {
    /// The bytes moved since other tasks ran.
    moved: u64,
    /// Set once tokio can no longer wait for writability.
    poller: Option<Poller>,
}

impl Driver {
    /// Repeats a step until its result is different from a `wait` for this `socket`.
    async fn step<S: Socket>(
        &mut self,
        socket: &S,
        wait: Option<Interest>,
        mut step: impl FnMut() -> io::Result<Progress>,
    ) -> io::Result<Progress> {
        let Some(wait) = wait else {
            return step();
        };
        loop {
            let ready = socket.ready(wait).await?;
            let mut stepped = None;
            let _cleared = socket.try_io(wait, || match step() {
                Ok(progress) if interest(progress) == Some(wait) => {
                    Err(io::ErrorKind::WouldBlock.into())
                }
                other => {
                    stepped = Some(other);
                    Ok(())
                }
            });
            if let Some(stepped) = stepped {
                return stepped;
            }
            if wait == Interest::WRITABLE && ready.is_write_closed() {
                if self.poller.is_none() {
                    self.poller = Some(Poller::of(socket.descriptor().as_fd())?);
                }
                if let Some(poller) = &self.poller {
                    poller.changed().await?;
                }
            }
        }
    }

    /// Yields to other tasks after enough bytes, and returns the interest to wait for `then`.
    async fn yield_after(&mut self, moved: u64, then: Interest) -> Option<Interest> {
        self.moved += moved;
        if self.moved >= BUDGET {
            self.moved = 0;
            yield_now().await;
        } else {
            consume_budget().await;
        }
        Some(then)
    }
}
