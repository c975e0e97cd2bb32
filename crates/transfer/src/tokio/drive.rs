//! Steps of transfers with a socket, each when the runtime says that it may go.
//!
//! The first step of a call asks nobody: there may be nothing to wait for. Later ones are made
//! under the readiness of the socket that would have to wait, so that exactly that is cleared.
//!
//! What it does badly: where the first step, or the other socket of a relay, has to wait, the step
//! is made once more before tokio believes it.

use ::tokio::io::Interest;
use ::tokio::task::{consume_budget, yield_now};
use std::io;

use super::error_queue::Poller;
use super::pool::warm;
use super::socket::Socket;
use super::unfinished::Truncated;
use crate::file_to_socket::FileToSocket;
use crate::socket_to_file::SocketToFile;
use crate::socket_to_socket::SocketToSocket;
use crate::step::Progress;

/// So much moves before other tasks have their turn.
const TURN: u64 = 1 << 20;

/// Drives a transfer to its end.
///
/// Cold pages are read by the blocking pool if the transfer is to tell
/// ([`Cold::Tell`](crate::Cold::Tell)); otherwise a step waits for the disk, and the thread of the
/// runtime with it.
///
/// # Cancel safety
/// Nothing is lost: the next call goes on from the same byte. What the pool is reading meanwhile
/// it reads to the end.
///
/// # Errors
/// As [`FileToSocket::step`]. A file that ended early is `UnexpectedEof` with [`Truncated`] in it.
///
/// # After `zerocopy`
/// Its notifications come through the error queue of the socket, which tokio takes for the end of
/// the sending side. The functions of this module know that, but tokio's own writes spin from then
/// on while the socket is full. `TcpStream::from_std(stream.into_std()?)` makes it forget.
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
pub async fn send<S: Socket>(transfer: &mut FileToSocket, socket: &S) -> io::Result<()> {
    let mut driver = Driver::default();
    let mut wait = None;
    loop {
        let progress = driver.step(socket, wait, || transfer.step(socket.as_fd())).await?;
        wait = match progress {
            Progress::Moved(bytes) => driver.others_turn(bytes, Interest::WRITABLE).await,
            Progress::NeedsWorker => {
                warm(transfer).await?;
                None
            }
            Progress::Done => return Ok(()),
            Progress::Truncated { missing } => return Err(Truncated { missing }.into()),
            waits => interest(waits),
        };
        if transfer.remaining() == 0 && progress != Progress::NeedsRelease {
            wait = None;
        }
    }
}

/// Drives a transfer to its end: as many bytes as it was made for, or until the peer closes.
///
/// Writing into the page cache does not go to the blocking pool: it waits only where the kernel
/// holds back whoever writes more than the disk takes, and with
/// [`CachePolicy::Drop`](crate::CachePolicy::Drop).
///
/// # Cancel safety
/// Nothing is lost: bytes that left the socket and have not reached the file stay in the transfer
/// ([`SocketToFile::in_flight`]), and the next call goes on with them.
///
/// # Errors
/// As [`SocketToFile::step`]; after `ENOSPC` it may be called again. A peer that closed early is
/// `UnexpectedEof` with [`Truncated`] in it.
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
    let mut driver = Driver::default();
    let mut wait = None;
    loop {
        let progress = driver.step(socket, wait, || transfer.step(socket.as_fd())).await?;
        wait = match progress {
            Progress::Moved(bytes) => driver.others_turn(bytes, Interest::READABLE).await,
            Progress::Done => return Ok(()),
            Progress::Truncated { missing } => return Err(Truncated { missing }.into()),
            waits => interest(waits),
        };
        // What is on its way already, or all there, need not wait for the peer.
        if transfer.remaining() == Some(0) || transfer.in_flight() > 0 {
            wait = None;
        }
    }
}

/// Drives a transfer to its end: one direction of a proxy. To pass the end on is the caller's;
/// [`Proxy`](super::Proxy) does it, in both directions.
///
/// While `from` is silent nobody looks at `to`: that its peer has left shows when bytes come for
/// it.
///
/// # Cancel safety
/// Nothing is lost: bytes that left the one socket and have not entered the other stay in the
/// transfer ([`SocketToSocket::in_flight`]), and the next call goes on with them.
///
/// # Errors
/// As [`SocketToSocket::step`]. A peer that closed early is `UnexpectedEof` with [`Truncated`] in
/// it.
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
        let step = || transfer.step(from.as_fd(), to.as_fd());
        let progress = match wait {
            Some(Interest::READABLE) => driver.step(from, wait, step).await?,
            _ => driver.step(to, wait, step).await?,
        };
        wait = match progress {
            Progress::Moved(bytes) => driver.others_turn(bytes, Interest::READABLE).await,
            Progress::Done => return Ok(()),
            Progress::Truncated { missing } => return Err(Truncated { missing }.into()),
            waits => interest(waits),
        };
        // What is on its way goes first.
        if transfer.in_flight() > 0 {
            wait = Some(Interest::WRITABLE);
        } else if transfer.remaining() == Some(0) {
            wait = None;
        }
    }
}

/// What tokio is to wait for.
fn interest(progress: Progress) -> Option<Interest> {
    match progress {
        Progress::NeedsReadable => Some(Interest::READABLE),
        Progress::NeedsWritable => Some(Interest::WRITABLE),
        Progress::NeedsRelease => Some(Interest::ERROR),
        _ => None,
    }
}

/// What lasts for one call.
#[derive(Debug, Default)]
struct Driver {
    /// Moved since others had their turn.
    moved: u64,
    /// Once tokio can no longer say when there is room.
    poller: Option<Poller>,
}

impl Driver {
    /// A step that answers something else than that it has to `wait` for this `socket`.
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
                    self.poller = Some(Poller::of(socket.as_fd())?);
                }
                if let Some(poller) = &self.poller {
                    poller.changed().await?;
                }
            }
        }
    }

    /// Lets other tasks run, and says what is to be waited for `then`.
    async fn others_turn(&mut self, moved: u64, then: Interest) -> Option<Interest> {
        self.moved += moved;
        if self.moved >= TURN {
            self.moved = 0;
            yield_now().await;
        } else {
            consume_budget().await;
        }
        Some(then)
    }
}
