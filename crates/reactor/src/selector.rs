//! The contract of a readiness model: five operations, two more for one that can read, and its
//! capabilities.
//!
//! 1. A descriptor is registered once, under a token of the caller's, and deregistered before it
//!    is closed, unless [`Demultiplexer::FORGETS_CLOSED`] says that the kernel does that itself.
//! 2. `wait` blocks until something is ready, the time is up, or a signal came, and may report
//!    more than there is (a spurious readiness), but never less. What was ready when it was
//!    registered is reported, too.
//! 3. With [`Demultiplexer::EDGE`] a readiness is reported once, for both directions and whatever
//!    the interest; the caller remembers it until a call says `EAGAIN`. Without, it is reported by
//!    every `wait` as long as it lasts and the caller's [`Interest`] includes it, so the caller
//!    keeps the interest at what it could act upon.
//! 4. A token may be reported once more after its descriptor was deregistered or closed, if the
//!    report was on its way: the caller tells stale ones by their generation.

use karez_transfer::ColdPart;
use rustix::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// A readiness model.
///
/// The same lines run on any of them:
///
/// ```
/// use karez_reactor::{Demultiplexer, EpollLevel, Interest, Select, Token};
/// use std::io::Write;
/// use std::os::fd::AsFd;
/// use std::os::unix::net::UnixStream;
///
/// fn first_to_speak<D: Demultiplexer>(peers: &[UnixStream]) -> rustix::io::Result<Token> {
///     let mut demultiplexer = D::new()?;
///     for (peer, number) in peers.iter().zip(0..) {
///         demultiplexer.register(peer.as_fd(), Token(number), Interest::READ)?;
///     }
///     let mut ready = Vec::new();
///     while ready.is_empty() {
///         demultiplexer.wait(None, &mut ready)?;
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
pub trait Demultiplexer: Sized {
    /// Readiness is reported on change only, and for both directions at once.
    const EDGE: bool;

    /// The kernel forgets a descriptor that is closed.
    const FORGETS_CLOSED: bool;

    /// It can watch an eventfd(2). Where not, a pipe takes its place.
    const WATCHES_EVENTFD: bool;

    /// It can [read](Self::read) from a disk past the page cache, and be told of it by a wait.
    const READS: bool = false;

    /// Asks the kernel for what the model needs. Whoever calls it is the thread that waits.
    ///
    /// # Errors
    /// Whatever the kernel refuses it with.
    fn new() -> io::Result<Self>;

    /// Watches `fd` for what `interest` says and for hang-up, and reports it as `token`.
    ///
    /// # Errors
    /// `ENOMEM`, `ENOSPC` (max_user_watches), `EPERM` for what cannot be watched.
    fn register(&mut self, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()>;

    /// Changes what a registered `fd` is watched for. With [`EDGE`](Self::EDGE) there is never a
    /// need to.
    ///
    /// # Errors
    /// `ENOENT` if it was not registered.
    fn modify(&mut self, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()>;

    /// Watches `fd` no more.
    ///
    /// # Errors
    /// `ENOENT` if it was not registered.
    fn deregister(&mut self, fd: BorrowedFd<'_>) -> io::Result<()>;

    /// Appends what is ready to `ready`. `None` waits without end.
    ///
    /// # Errors
    /// `EINTR` is an empty answer. After `ENOMEM`, `EAGAIN` and the like nothing is lost and the next
    /// call may succeed; others cannot be mended by trying again.
    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()>;

    /// Begins to read what is to leave by [`Via::Direct`](karez_transfer::Via::Direct).
    ///
    /// # Errors
    /// With the part itself: this model cannot, or not now.
    fn read(&mut self, _token: Token, part: ColdPart) -> Result<(), ColdPart> {
        Err(part)
    }

    /// Whose [read](Self::read) is over since the last wait, one at a time.
    fn read_over(&mut self) -> Option<Token> {
        None
    }
}

/// The caller's name for a registered descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// What a descriptor is watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Reading will not block.
    pub readable: bool,
    /// Writing will not block.
    pub writable: bool,
    /// The connection was reset or has been closed in both directions; implied by the others.
    pub hang_up: bool,
}

impl Interest {
    /// Nothing, not even that it hung up.
    pub const NONE: Self = Self { readable: false, writable: false, hang_up: false };
    /// That it hung up, and nothing else. [`Select`](crate::Select), which has no such question, asks
    /// for reading; [`Nonblocking`](crate::Nonblocking) reports on every lap, with no flag set, that
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
    /// Whose.
    pub token: Token,
    /// Reading will not block: there are bytes, the end, or an error to fetch.
    pub readable: bool,
    /// Writing will not block.
    pub writable: bool,
    /// There may be an end or an error to be read behind the bytes, so a short read does not mean
    /// that all has been read.
    pub hang_up: bool,
}

impl Ready {
    /// All that there can be to report.
    pub(crate) fn anything(token: Token) -> Self {
        Self { token, readable: true, writable: true, hang_up: true }
    }
}
