//! The same transfers by polling, for a hand-written future, an `AsyncWrite` or a `Stream`.
//!
//! # Limitations
//!
//! A socket wakes one task for each direction: that of the last poll. So one task at a time may poll
//! transfers out of a socket, and one transfers into it; the `async fn`s have no such limit.

use ::tokio::io::Interest;
use ::tokio::task::JoinHandle;
use std::io;
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use super::drive::{BUDGET, interest};
use super::error_queue::Poller;
use super::files::step_locked;
use super::outgoing::Outgoing;
use super::pool::start;
use super::socket::Socket;
use crate::file_to_file::FileToFile;
use crate::file_to_socket::FileToSocket;
use crate::run_blocking::Truncated;
use crate::socket_to_file::SocketToFile;
use crate::socket_to_socket::SocketToSocket;
use crate::step::Progress;

/// The attempts on a socket that is reported as writable and is not, before a poller of its own is made. One
/// or two happen where the runtime reports news at the same moment.
const FRUITLESS: u32 = 8;

/// The state of one transfer between two polls: the read in the blocking pool for which it waits, and the
/// bytes since other tasks ran. Each transfer has one of its own; a new one may take its place at any time.
#[derive(Debug, Default)]
pub struct PollState {
    moved: u64,
    page_in: Option<JoinHandle<io::Result<()>>>,
    step: Option<JoinHandle<io::Result<Progress>>>,
    /// Set once tokio can no longer wait for writability.
    poller: Option<Poller>,
}

/// Polls a transfer to its end, as [`send`](super::send).
///
/// ```
/// use karez_transfer::{FileToSocket, Outbox, Via, tokio::{PollState, poll_send}};
/// use std::{future::poll_fn, io::Write};
/// # use tokio::{io::AsyncReadExt, net::UnixStream};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// # let (socket, mut peer) = UnixStream::pair()?;
/// let mut file = tempfile::tempfile()?;
/// file.write_all(b"under the desert")?;
/// let mut outbox = Outbox::from(b"water ".to_vec());
/// outbox.push_file(FileToSocket::new(file, .., Via::Sendfile));
///
/// let mut state = PollState::default();
/// poll_fn(|context| poll_send(&mut outbox, &socket, &mut state, context)).await?;
/// # drop(socket);
/// # let mut all = String::new();
/// # peer.read_to_string(&mut all).await?;
/// # assert_eq!(all, "water under the desert");
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As [`send`](super::send), and it may be called again as that.
pub fn poll_send<T: Outgoing, S: Socket>(
    transfer: &mut T,
    socket: &S,
    state: &mut PollState,
    context: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    loop {
        let progress = ready!(send_some(transfer, socket, u64::MAX, state, context))?;
        if let Some(ended) = ready!(state.after(progress, context)) {
            return Poll::Ready(ended);
        }
    }
}

/// Polls a transfer until it has moved bytes, at most `at_most`, and returns their number; 0 at its end.
/// An `AsyncWrite` that sends a file in place of the caller's bytes is built on it.
///
/// # Errors
/// As [`send`](super::send).
pub fn poll_send_some<S: Socket>(
    transfer: &mut FileToSocket,
    socket: &S,
    at_most: u64,
    state: &mut PollState,
    context: &mut Context<'_>,
) -> Poll<io::Result<u64>> {
    loop {
        match ready!(send_some(transfer, socket, at_most, state, context))? {
            // Signals interrupted it.
            Progress::Moved(0) if at_most > 0 => {}
            Progress::Moved(bytes) => return Poll::Ready(Ok(bytes)),
            Progress::Truncated { missing } => {
                return Poll::Ready(Err(Truncated { missing }.into()));
            }
            _ => return Poll::Ready(Ok(0)),
        }
    }
}

/// Steps until bytes have moved or the transfer has ended.
fn send_some<T: Outgoing, S: Socket>(
    transfer: &mut T,
    socket: &S,
    at_most: u64,
    state: &mut PollState,
    context: &mut Context<'_>,
) -> Poll<io::Result<Progress>> {
    loop {
        if let Some(page_in) = &mut state.page_in {
            let read = ready!(Pin::new(page_in).poll(context));
            state.page_in = None;
            if read.map_err(io::Error::other)?.is_err() {
                transfer.block_on_misses(); // the step itself returns the error of the disk
            }
        }
        let step = || transfer.step_at_most(socket.descriptor().as_fd(), at_most);
        let progress = ready!(state.step(socket, None, context, step))?;
        match progress {
            Progress::NeedsWorker => match transfer.next_page_in() {
                Some(page_in) => state.page_in = Some(start(move || page_in.run())?),
                None => transfer.block_on_misses(),
            },
            _ => return Poll::Ready(Ok(progress)),
        }
    }
}

/// Polls a transfer to its end, as [`receive`](super::receive).
///
/// # Errors
/// As [`receive`](super::receive), and it may be called again as that.
pub fn poll_receive<S: Socket>(
    transfer: &mut SocketToFile,
    socket: &S,
    state: &mut PollState,
    context: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    loop {
        let step = || transfer.step(socket.descriptor().as_fd());
        let progress = ready!(state.step(socket, None, context, step))?;
        if let Some(ended) = ready!(state.after(progress, context)) {
            return Poll::Ready(ended);
        }
    }
}

/// Polls a transfer to its end, as [`relay`](super::relay).
///
/// # Errors
/// As [`relay`](super::relay), and it may be called again as that.
pub fn poll_relay<F: Socket, T: Socket>(
    transfer: &mut SocketToSocket,
    from: &F,
    to: &T,
    state: &mut PollState,
    context: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    loop {
        let (source, sink) = (from.descriptor().as_fd(), to.descriptor().as_fd());
        let mut step = || transfer.step(source, sink);
        let progress = match step()? {
            Progress::NeedsReadable => {
                let wait = Some(Interest::READABLE);
                ready!(state.step(from, wait, context, step))?
            }
            Progress::NeedsWritable => {
                let wait = Some(Interest::WRITABLE);
                ready!(state.step(to, wait, context, step))?
            }
            progress => progress,
        };
        if let Some(ended) = ready!(state.after(progress, context)) {
            return Poll::Ready(ended);
        }
    }
}

/// Polls a copy between files to its end, as [`copy`](super::copy).
///
/// # Errors
/// As [`copy`](super::copy), and it may be called again as that.
pub fn poll_copy(
    transfer: &Arc<Mutex<FileToFile>>,
    state: &mut PollState,
    context: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    loop {
        let step = match &mut state.step {
            Some(step) => step,
            empty => {
                let shared = Arc::clone(transfer);
                empty.insert(start(move || step_locked(&shared))?)
            }
        };
        let stepped = ready!(Pin::new(step).poll(context));
        state.step = None;
        match stepped.map_err(io::Error::other)?? {
            Progress::Done => return Poll::Ready(Ok(())),
            Progress::Truncated { missing } => {
                return Poll::Ready(Err(Truncated { missing }.into()));
            }
            _ => {}
        }
    }
}

impl PollState {
    /// Steps until the result is no `wait` for this socket; `None` means a wait of the first step.
    fn step<S: Socket>(
        &mut self,
        socket: &S,
        wait: Option<Interest>,
        context: &mut Context<'_>,
        mut step: impl FnMut() -> io::Result<Progress>,
    ) -> Poll<io::Result<Progress>> {
        let wait = match wait {
            Some(wait) => wait,
            None => {
                let progress = step()?;
                match interest(progress) {
                    Some(wait) => wait,
                    None => return Poll::Ready(Ok(progress)),
                }
            }
        };
        let mut fruitless = 0;
        loop {
            ready!(self.wait(socket, wait, fruitless, context))?;
            let mut stepped = None;
            let mut attempt = || match step() {
                Ok(progress) if interest(progress) == Some(wait) => {
                    Err(io::ErrorKind::WouldBlock.into())
                }
                other => {
                    stepped = Some(other);
                    Ok(())
                }
            };
            // The readiness of a poller of its own is not that of the socket.
            let _cleared = match self.poller {
                Some(_) if wait != Interest::READABLE => attempt(),
                _ => socket.try_io(wait, attempt),
            };
            match stepped {
                Some(Ok(progress)) if interest(progress).is_some() => {
                    // The other socket of a relay blocks now, which the next poll finds.
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Some(stepped) => return Poll::Ready(stepped),
                None => fruitless += 1,
            }
        }
    }

    /// Polls for readiness. Tokio reports a socket whose error queue had an entry as writable for ever, so
    /// after enough `fruitless` attempts a poller of its own waits.
    fn wait<S: Socket>(
        &mut self,
        socket: &S,
        wait: Interest,
        fruitless: u32,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if wait == Interest::READABLE {
            return socket.poll_read_ready(context);
        }
        if self.poller.is_none() && wait == Interest::WRITABLE {
            ready!(socket.poll_write_ready(context))?;
            if fruitless < FRUITLESS {
                return Poll::Ready(Ok(()));
            }
        }
        let poller = match &mut self.poller {
            Some(poller) => poller,
            empty => empty.insert(Poller::of(socket.descriptor().as_fd())?),
        };
        poller.poll_changed(context)
    }

    /// Returns the result of a transfer that has ended, or `None` to step again. After enough bytes it
    /// lets other tasks run.
    fn after(
        &mut self,
        progress: Progress,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<()>>> {
        match progress {
            Progress::Done => Poll::Ready(Some(Ok(()))),
            Progress::Truncated { missing } => Poll::Ready(Some(Err(Truncated { missing }.into()))),
            Progress::Moved(bytes) => {
                self.moved += bytes;
                if self.moved < BUDGET {
                    return Poll::Ready(None);
                }
                self.moved = 0;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            _ => Poll::Ready(None),
        }
    }
}
