//! The contract of a step: the request that a backend gets, and the results of one bounded attempt.

use rustix::io::Errno;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;

use crate::calls::Calls;
use crate::edit::Edit;
use crate::report::Reason;
use crate::version::{Changed, Version};

/// The descriptors of a transfer, borrowed for one step.
#[derive(Clone, Copy)]
pub(crate) struct Descriptors<'a> {
    pub(crate) from: BorrowedFd<'a>,
    pub(crate) to: BorrowedFd<'a>,
}

/// One end of a transfer.
#[derive(Clone, Copy)]
pub(crate) struct Endpoint<'a> {
    pub(crate) fd: BorrowedFd<'a>,
    /// The offset in a file; `None` for a stream.
    pub(crate) at: Option<u64>,
}

/// One attempt that a backend is asked to make.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) from: Endpoint<'a>,
    pub(crate) to: Endpoint<'a>,
    /// All remaining bytes; more than 0.
    pub(crate) len: u64,
    /// The most bytes that one system call asks for; at most `len`.
    pub(crate) chunk: u64,
    /// The outbox has more to send behind these `len` bytes.
    pub(crate) more: bool,
    /// The socket makes records (kernel TLS), and none may be left open.
    pub(crate) records: bool,
    /// Pages must not stay in the cache (`RWF_DONTCACHE`).
    pub(crate) uncached: bool,
    /// The step must report a page-cache miss instead of blocking.
    pub(crate) report_misses: bool,
    /// An end without an offset is a pipe and not a socket.
    pub(crate) pipes: bool,
    /// The capacity to request for a new pipe, in bytes.
    pub(crate) pipe_size: u32,
    pub(crate) edits: &'a [Edit],
    /// The version that the source must have when its last byte is passed on.
    pub(crate) version: Option<Version>,
}

impl Request<'_> {
    /// Returns how many bytes one system call asks for.
    pub(crate) fn count(&self) -> usize {
        usize::try_from(self.chunk).unwrap_or(usize::MAX)
    }

    /// Returns whether more bytes follow at once behind `count` bytes of this request. Behind bytes
    /// of a socket that is unknown, so the answer is no; and a record must not wait for bytes that may
    /// have to be read from a disk.
    pub(crate) fn more_behind(&self, count: usize) -> bool {
        let within = (count as u64) < self.len;
        self.from.at.is_some() && if within { !self.records } else { self.more }
    }

    /// Verifies the version of the source, if the next `count` bytes are its last.
    pub(crate) fn verify(&self, count: usize, calls: &mut Calls) -> Result<(), Blocked> {
        match self.version {
            Some(version) if count as u64 >= self.len => {
                calls.statx += 1;
                match Version::of(self.from.fd) {
                    Ok(now) if now == version => Ok(()),
                    _ => Err(Blocked::Changed),
                }
            }
            _ => Ok(()),
        }
    }

    /// Returns the offset in the source file.
    pub(crate) fn source_offset(&self) -> Result<u64, Blocked> {
        self.from.at.ok_or(Blocked::Bug("this method reads files, but its source is a stream"))
    }

    /// Returns the offset in the sink file.
    pub(crate) fn sink_offset(&self) -> Result<u64, Blocked> {
        self.to.at.ok_or(Blocked::Bug("this method writes files, but its sink is a stream"))
    }
}

/// Why an attempt moved nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocked {
    /// The source has no bytes yet.
    Readable,
    /// The sink has no room.
    Writable,
    /// The bytes are not in the page cache, and the step must not block.
    Miss,
    /// The socket still refers to memory of the transfer.
    ZerocopyCompletion,
    /// The backend has changed how it reads; the attempt must be repeated.
    Retry,
    /// The system call failed, possibly because it does not support these ends.
    Rejected(Errno),
    /// A plain read or write failed, as it would with every via.
    Failed(Errno),
    /// The via could not be set up: no mapping, pipe or second descriptor. No byte has been taken,
    /// so the transfer falls back whatever the reason.
    Unavailable(Reason),
    /// The source has been written since its version was taken.
    Changed,
    /// A state that the transfer must never reach.
    Bug(&'static str),
}

impl Blocked {
    /// Returns the kernel's error, if the attempt ended with one.
    pub(crate) fn errno(self) -> Option<Errno> {
        match self {
            Self::Rejected(errno) | Self::Failed(errno) => Some(errno),
            Self::Unavailable(reason) => reason.errno(),
            _ => None,
        }
    }

    /// Returns the reason to fall back, if the attempt ended with an error.
    pub(crate) fn reason(self) -> Option<Reason> {
        match self {
            Self::Rejected(errno) | Self::Failed(errno) => Some(Reason::Errno(errno)),
            Self::Unavailable(reason) => Some(reason),
            _ => None,
        }
    }

    /// Returns the event to wait for, or the error.
    pub(crate) fn into_progress(self) -> io::Result<Progress> {
        match self {
            Self::Readable => Ok(Progress::NeedsReadable),
            Self::Writable => Ok(Progress::NeedsWritable),
            Self::Miss => Ok(Progress::NeedsWorker),
            Self::ZerocopyCompletion => Ok(Progress::NeedsZerocopyCompletion),
            Self::Retry => Ok(Progress::Moved(0)),
            Self::Rejected(errno) | Self::Failed(errno) => Err(errno.into()),
            Self::Unavailable(reason) => Err(reason.into()),
            Self::Changed => Err(Changed.into()),
            Self::Bug(message) => Err(io::Error::other(message)),
        }
    }

    /// Interprets the errno of a read.
    pub(crate) fn reading(errno: Errno) -> Self {
        if errno == Errno::AGAIN { Self::Readable } else { Self::Rejected(errno) }
    }

    /// Interprets the errno of a write.
    pub(crate) fn writing(errno: Errno) -> Self {
        if errno == Errno::AGAIN { Self::Writable } else { Self::Rejected(errno) }
    }

    /// Interprets the errno of a write without any flag that the kernel may not support.
    pub(crate) fn writing_plainly(errno: Errno) -> Self {
        if errno == Errno::AGAIN { Self::Writable } else { Self::Failed(errno) }
    }
}

impl From<Errno> for Blocked {
    fn from(errno: Errno) -> Self {
        Self::Rejected(errno)
    }
}

/// Reports the result of one step. The list is complete, so that every loop handles every result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The step moved this many bytes; more may remain. The count is 0 if signals interrupted every
    /// call of the step (`EINTR`): step again, unless the signal asks for something else.
    Moved(u64),
    /// The source has no bytes yet: step again when it is readable.
    ///
    /// On a blocking socket `SO_RCVTIMEO` has expired (socket(7)).
    NeedsReadable,
    /// The sink has no room: step again when it is writable.
    ///
    /// On a blocking socket `SO_SNDTIMEO` has expired (socket(7)).
    NeedsWritable,
    /// The bytes are not in memory, so the step would block to read a disk. Run the
    /// [page-in](crate::PageIn::run) on a thread that may block, then step again. Occurs only with
    /// [`OnMiss::Report`](crate::OnMiss::Report). If the same part misses again after three page-ins,
    /// its pages do not stay in memory, and the transfer blocks after all.
    NeedsWorker,
    /// All bytes have been sent, or as many as the socket accepts, but the socket still refers to
    /// memory of the transfer (`MSG_ZEROCOPY`): step again when the error queue of the socket has
    /// entries (`POLLERR`, which poll(2) and epoll(7) always report). Occurs only with
    /// [`Via::Zerocopy`](crate::Via::Zerocopy).
    NeedsZerocopyCompletion,
    /// All bytes have been passed to the kernel.
    Done,
    /// The source ended before the range did. The bytes sent so far cannot be completed.
    Truncated {
        /// How many bytes of the range do not exist.
        missing: u64,
    },
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Moved(bytes) => write!(f, "{bytes} bytes moved"),
            Self::NeedsReadable => f.write_str("blocked until the source is readable"),
            Self::NeedsWritable => f.write_str("blocked until the sink is writable"),
            Self::NeedsWorker => f.write_str("blocked on a page-in"),
            Self::NeedsZerocopyCompletion => f.write_str("blocked on a MSG_ZEROCOPY completion"),
            Self::Done => f.write_str("done"),
            Self::Truncated { missing } => write!(f, "the source ended {missing} bytes early"),
        }
    }
}
