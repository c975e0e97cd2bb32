//! The contract of a readiness model: five operations, two more for a model that can read, and its
//! capabilities.
//!
//! 1. A descriptor is registered once, under a token of the caller's, and deregistered before it
//!    is closed, unless [`Selector::CLOSE_DEREGISTERS`] says that the kernel does that itself.
//! 2. `wait` blocks until something is ready, the time is up, or a signal came, and may report
//!    more than there is (a spurious readiness), but never less. Readiness from before the
//!    registration is reported, too.
//! 3. With [`Selector::EDGE`] a readiness is reported once, for both directions and whatever
//!    the interest; the caller remembers it until a call says `EAGAIN`. Without, it is reported by
//!    every `wait` as long as it lasts and the caller's [`Interest`] includes it, so the caller
//!    keeps the interest as small as its next calls.
//! 4. A token may be reported once more after its descriptor was deregistered or closed, if the
//!    report was on its way: the caller recognises stale ones by their generation.

use karez_transfer::PageIn;
use rustix::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// A readiness model.
///
/// The same lines run on any of them:
///
/// ```
/// use karez_reactor::{Selector, EpollLevel, Interest, Select, Token};
/// use std::io::Write;
/// use std::os::fd::AsFd;
/// use std::os::unix::net::UnixStream;
///
/// fn first_to_speak<D: Selector>(peers: &[UnixStream]) -> rustix::io::Result<Token> {
///     let mut selector = D::new()?;
///     for (peer, number) in peers.iter().zip(0..) {
///         selector.register(peer.as_fd(), Token(number), Interest::READ)?;
///     }
///     let mut ready = Vec::new();
///     while ready.is_empty() {
///         selector.wait(None, &mut ready)?;
///     }
///     Ok(ready[0].token)
/// }
///
/// # fn main() -> std::io::Result<()> {
/// let (mut a, b) = UnixStream::pair()?;
/// let (_c, d) = UnixStream::pair()?;
/// a.write_all(b"water")?;
/// let peers = [d, b];
/// assert_eq!(first_to_speak::<Select>(&peers)?, Token(1));
/// assert_eq!(first_to_speak::<EpollLevel>(&peers)?, Token(1));
/// # Ok(())
/// # }
/// ```
pub trait Selector: Sized {
    /// Readiness is reported on change only, and for both directions at once.
    const EDGE: bool;

    /// close(2) deregisters a descriptor.
    const CLOSE_DEREGISTERS: bool;

    /// All processes that have a socket open share one registration, so that only the last one to register
    /// it is notified.
    const SHARES_REGISTRATION: bool = false;

    /// It can watch an eventfd(2). Where not, a pipe takes its place.
    const WATCHES_EVENTFD: bool;

    /// It can [read](Self::offload_read) from a disk past the page cache, and a wait reports the end.
    const OFFLOADS_READS: bool = false;

    /// Sets the model up. Only the calling thread may wait.
    ///
    /// # Errors
    /// The errno of the call that sets it up.
    fn new() -> io::Result<Self>;

    /// Watches `fd` for `interest` and for a hang-up, and reports it as `token`.
    ///
    /// # Errors
    /// `ENOMEM`, `ENOSPC` (max_user_watches), `EPERM` for a descriptor that cannot be watched.
    fn register(&mut self, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()>;

    /// Changes the interest and the token of a registered `fd`. With [`EDGE`](Self::EDGE) there is never a
    /// need to.
    ///
    /// # Errors
    /// `ENOENT` if it was not registered.
    fn modify(&mut self, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()>;

    /// Removes the registration of `fd`.
    ///
    /// # Errors
    /// `ENOENT` if it was not registered.
    fn deregister(&mut self, fd: BorrowedFd<'_>) -> io::Result<()>;

    /// Appends reports to `ready`. `None` waits without a timeout.
    ///
    /// # Errors
    /// `EINTR` is an empty answer. After `ENOMEM`, `EAGAIN` and the like nothing is lost and the next
    /// call may succeed; any other error is permanent.
    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()>;

    /// Starts to read pages that will be sent by [`Via::Direct`](karez_transfer::Via::Direct).
    ///
    /// # Errors
    /// The pages: this model cannot read them, or not now.
    fn offload_read(&mut self, _token: Token, part: PageIn) -> Result<(), PageIn> {
        Err(part)
    }

    /// Returns the token of one [read](Self::offload_read) that has completed since the last wait.
    fn next_completed_read(&mut self) -> Option<Token> {
        None
    }
}

/// The caller's name for a registered descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// The readiness that a descriptor is watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Reading will not block.
    pub readable: bool,
    /// Writing will not block.
    pub writable: bool,
    /// The connection was reset or has been closed in both directions; implied by the other two.
    pub hang_up: bool,
}

impl Interest {
    /// Nothing, not even a hang-up.
    pub const NONE: Self = Self { readable: false, writable: false, hang_up: false };
    /// A hang-up, and nothing else. [`Select`](crate::Select), which has no such set, watches for
    /// reading; [`Nonblocking`](crate::Nonblocking) reports on every lap, with no flag set, that
    /// the caller has to ask.
    pub const HANG_UP: Self = Self { readable: false, writable: false, hang_up: true };
    /// Reading.
    pub const READ: Self = Self { readable: true, writable: false, hang_up: false };
    /// Writing.
    pub const WRITE: Self = Self { readable: false, writable: true, hang_up: false };
    /// Reading and writing.
    pub const BOTH: Self = Self { readable: true, writable: true, hang_up: false };
}

/// One report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The token of the descriptor.
    pub token: Token,
    /// Reading will not block: there are bytes, the end, or an error to fetch.
    pub readable: bool,
    /// Writing will not block.
    pub writable: bool,
    /// There may be an end or an error to be read behind the bytes, so a short read does not mean
    /// that all has been read.
    pub read_closed: bool,
}

impl Ready {
    /// Returns a report of everything.
    pub(crate) fn everything(token: Token) -> Self {
        Self { token, readable: true, writable: true, read_closed: true }
    }
}
