//! The contract of a readiness model: five operations and its capabilities.
//!
//! 1. A descriptor is registered once, under a token of the caller's, and deregistered before it
//!    is closed, unless [`Demultiplexer::FORGETS_CLOSED`] says that the kernel does that itself.
//! 2. `wait` blocks until something is ready, the time is up, or a signal came, and may report
//!    more than there is (a spurious readiness), but never less.
//! 3. With [`Demultiplexer::EDGE`] a readiness is reported once; the caller remembers it until a
//!    call says `EAGAIN`.
//! 4. A token may be reported after its descriptor was deregistered, within the same `wait`: the
//!    caller tells stale ones by their generation.

use rustix::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// A readiness model.
pub trait Demultiplexer: Sized {
    /// Readiness is reported on change only, and for both directions at once.
    const EDGE: bool;

    /// The kernel forgets a descriptor that is closed.
    const FORGETS_CLOSED: bool;

    /// Asks the kernel for what the model needs.
    ///
    /// # Errors
    /// Whatever the kernel refuses it with.
    fn new() -> io::Result<Self>;

    /// Watches `fd` for readable, writable and hang-up, and reports it as `token`.
    ///
    /// # Errors
    /// `ENOMEM`, `ENOSPC` (max_user_watches), `EPERM` for what cannot be watched.
    fn register(&mut self, fd: BorrowedFd<'_>, token: Token) -> io::Result<()>;

    /// Watches `fd` no more.
    ///
    /// # Errors
    /// `ENOENT` if it was not registered.
    fn deregister(&mut self, fd: BorrowedFd<'_>) -> io::Result<()>;

    /// Appends what is ready to `ready`. `None` waits without end.
    ///
    /// # Errors
    /// Only what cannot be mended by trying again; `EINTR` is an empty answer.
    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()>;
}

/// The caller's name for a registered descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// One report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Whose.
    pub token: Token,
    /// Reading will not block: there are bytes, the end, or an error to fetch.
    pub readable: bool,
    /// Writing will not block.
    pub writable: bool,
    /// The peer has sent its FIN or a reset: there is an end to be read behind the bytes.
    pub hang_up: bool,
}
