//! Drives a transfer to its end on the calling thread: system calls on blocking sockets, poll(2) on
//! non-blocking ones.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::Errno;
use std::error::Error;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;

use crate::step::Progress;

/// The descriptors to poll.
#[derive(Clone, Copy, Default)]
pub(crate) struct Waits<'a> {
    /// Polled for [`Progress::NeedsReadable`].
    pub(crate) source: Option<BorrowedFd<'a>>,
    /// Polled for [`Progress::NeedsWritable`] and [`Progress::NeedsZerocopyCompletion`].
    pub(crate) sink: Option<BorrowedFd<'a>>,
    /// The descriptors are pipes, which splice(2) never blocks on, whatever mode they are in.
    pub(crate) pipes: bool,
}

/// Steps until the transfer, which must block on misses, is done.
pub(crate) fn run<T>(
    transfer: &mut T,
    waits: Waits<'_>,
    mut step: impl FnMut(&mut T) -> io::Result<Progress>,
) -> io::Result<()> {
    loop {
        match step(transfer)? {
            Progress::Moved(_) => {}
            Progress::Done => return Ok(()),
            Progress::Truncated { missing } => return Err(Truncated { missing }.into()),
            Progress::NeedsReadable => waits.wait(waits.source, PollFlags::IN)?,
            Progress::NeedsWritable => waits.wait(waits.sink, PollFlags::OUT)?,
            // poll(2) reports POLLERR unasked.
            Progress::NeedsZerocopyCompletion => waits.poll(waits.sink, PollFlags::empty())?,
            Progress::NeedsWorker => {
                return Err(io::Error::other("a blocking transfer reports a page-cache miss"));
            }
        }
    }
}

impl Waits<'_> {
    /// Waits for a socket. A blocking one has waited already, until its timeout.
    fn wait(&self, fd: Option<BorrowedFd<'_>>, events: PollFlags) -> io::Result<()> {
        if let (false, Some(socket)) = (self.pipes, fd)
            && !fcntl_getfl(socket)?.contains(OFlags::NONBLOCK)
        {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.poll(fd, events)
    }

    fn poll(&self, fd: Option<BorrowedFd<'_>>, events: PollFlags) -> io::Result<()> {
        let Some(fd) = fd else {
            return Err(io::Error::other("a transfer waits for an end that is a file"));
        };
        match poll(&mut [PollFd::from_borrowed_fd(fd, events)], None) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// The source ended before the promised bytes were there. It is inside an [`io::Error`] of the kind
/// `UnexpectedEof`: see [`io::Error::get_ref`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Truncated {
    /// How many of the promised bytes do not exist.
    pub missing: u64,
}

impl Truncated {
    /// Returns the error of a source of which so many promised bytes do not exist.
    #[must_use]
    pub fn new(missing: u64) -> Self {
        Self { missing }
    }
}

impl fmt::Display for Truncated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the source ended {} bytes early", self.missing)
    }
}

impl Error for Truncated {}

impl From<Truncated> for io::Error {
    fn from(truncated: Truncated) -> Self {
        Self::new(io::ErrorKind::UnexpectedEof, truncated)
    }
}
