//! The report of a transfer: the via that ran, its system calls, its bytes, its fallbacks.

use rustix::io::Errno;
use std::fmt;
use std::io;

use crate::calls::Calls;
use crate::direction::Direction;
use crate::settings::CachePolicy;
use crate::via::Via;

/// Reports how a transfer moved its bytes.
///
/// Displayed as one line:
///
/// ```
/// use karez_transfer::{Direction, Fallback, Reason, Report, Via};
///
/// let mut report = Report::new(Direction::FileToFile, Via::Reflink);
/// report.effective = Via::CopyRange;
/// report.bytes = 104_857_600;
/// report.calls.ioctl = 1;
/// report.calls.copy_file_range = 7;
/// report.fallbacks.push(Fallback::new(Via::Reflink, Reason::Sealed, 0));
/// assert_eq!(
///     report.to_string(),
///     "copy-range 104857600 bytes in 8 calls, \
///      fell back from reflink: the connection is sealed in user space"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The kinds of the two ends.
    pub direction: Direction,
    /// The requested via.
    pub requested: Via,
    /// The via that moves the bytes now, or moved the last of them; `auto` until one is chosen.
    pub effective: Via,
    /// The vias that moved bytes before [`effective`](Self::effective), in order, each with the offset
    /// that it reached. `auto` switches via on a page-cache miss, and the rest of a file that was
    /// inlined behind memory is sent by the file's own via.
    pub previous: Vec<(Via, u64)>,
    /// The bytes that reached the sink so far; after an error, the offset reached.
    pub bytes: u64,
    /// The system calls so far, by name.
    pub calls: Calls,
    /// The fallbacks, in order.
    pub fallbacks: Vec<Fallback>,
    /// The effective cache policy: [`CachePolicy::Drop`] after a fallback from [`Via::Direct`] or
    /// [`CachePolicy::Uncached`].
    pub cache: CachePolicy,
    /// The error with which the kernel refused [`CachePolicy::Uncached`], if it did.
    pub cache_refused: Option<Errno>,
    /// The completions of sends by [`Via::Zerocopy`], from the error queue.
    pub zerocopy: Notifications,
    /// The pages that [`Via::Cow`] copied because of an edit.
    pub pages_copied: u64,
}

/// Tells apart whether the CPU copied the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// Not by these system calls. (A device without scatter-gather may still make the kernel copy
    /// below them.)
    No,
    /// Once or more.
    Yes,
    /// The file system or the socket decides, and has not reported it (yet).
    Unknown,
}

impl Report {
    /// Returns the report of a transfer that has not moved a byte.
    #[must_use]
    pub fn new(direction: Direction, via: Via) -> Self {
        Self {
            direction,
            requested: via,
            effective: via,
            previous: Vec::new(),
            bytes: 0,
            calls: Calls::default(),
            fallbacks: Vec::new(),
            cache: CachePolicy::Keep,
            cache_refused: None,
            zerocopy: Notifications::default(),
            pages_copied: 0,
        }
    }

    /// Records that another via moves the bytes from now on.
    pub(crate) fn switch_to(&mut self, via: Via) {
        let before = self.previous.last().map_or(0, |&(_, reached)| reached);
        if self.effective != via && self.bytes > before {
            self.previous.push((self.effective, self.bytes));
        }
        self.effective = via;
    }

    /// Returns the vias that moved bytes, in order, each with its number of bytes.
    pub fn bytes_by_method(&self) -> impl Iterator<Item = (Via, u64)> {
        let mut before = 0;
        let spans = self.previous.iter().copied().chain([(self.effective, self.bytes)]);
        spans.filter_map(move |(via, reached)| {
            let bytes = reached - std::mem::replace(&mut before, reached);
            (bytes > 0).then_some((via, bytes))
        })
    }

    /// Returns whether the CPU copied the bytes of the [`effective`](Self::effective) via.
    #[must_use]
    pub fn copied(&self) -> Copied {
        self.copied_by(self.effective)
    }

    /// Returns whether the CPU copied the bytes that a via moved in this transfer.
    #[must_use]
    pub fn copied_by(&self, via: Via) -> Copied {
        let to_file = matches!(
            self.direction,
            Direction::FileToFile | Direction::SocketToFile | Direction::PipeToFile
        );
        let copied_if = |copied| if copied { Copied::Yes } else { Copied::No };
        match via {
            Via::Reflink => Copied::No,
            // Instead of a pipe there may be a file at its own position, into which pages are copied.
            Via::Sendfile if self.direction == Direction::FileToPipe => Copied::Unknown,
            Via::Splice if self.direction == Direction::PipeToPipe => Copied::Unknown,
            // Into a file the kernel copies from page to page.
            Via::Sendfile | Via::Splice => copied_if(to_file),
            // Between files only a tail shorter than a block.
            Via::Direct => copied_if(!to_file),
            Via::Zerocopy => self.zerocopy.copied(),
            Via::CopyRange | Via::Auto => Copied::Unknown,
            Via::Copy | Via::Mmap | Via::Cow => Copied::Yes,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { effective, bytes, calls, fallbacks, cache_refused, .. } = self;
        write!(f, "{effective} {bytes} bytes in {} calls", calls.total())?;
        for Fallback { from, reason, after } in fallbacks {
            write!(f, ", fell back from {from}")?;
            if *after > 0 {
                write!(f, " after {after} bytes")?;
            }
            write!(f, ": {reason}")?;
        }
        match cache_refused {
            Some(errno) => write!(f, ", RWF_DONTCACHE unsupported: {errno}"),
            None => Ok(()),
        }
    }
}

/// Counts sends with `MSG_ZEROCOPY` and their completions from the error queue of the socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notifications {
    /// Sends with `MSG_ZEROCOPY`.
    pub sends: u32,
    /// Sends whose memory the kernel has released.
    pub released: u32,
    /// Sends for which the kernel copied the bytes after all, as it does on loopback
    /// (`SO_EE_CODE_ZEROCOPY_COPIED`).
    pub copied: u32,
}

impl Notifications {
    /// Returns whether the kernel copied, as far as the completions show.
    #[must_use]
    pub fn copied(&self) -> Copied {
        match self {
            Self { copied: 1.., .. } => Copied::Yes,
            Self { sends: 1.., .. } if self.released >= self.sends => Copied::No,
            _ => Copied::Unknown,
        }
    }
}

/// One fallback to the next via.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fallback {
    /// The via that did not run, or not to the end.
    pub from: Via,
    /// The reason.
    pub reason: Reason,
    /// The bytes that had moved before.
    pub after: u64,
}

impl Fallback {
    /// Returns a fallback from a via after so many bytes.
    #[must_use]
    pub fn new(from: Via, reason: impl Into<Reason>, after: u64) -> Self {
        Self { from, reason: reason.into(), after }
    }

    /// Returns the kernel's error, if that was the reason.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        self.reason.errno()
    }
}

/// Why a via did not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The kernel's error.
    Errno(Errno),
    /// The system call returned 0, as at the end of the source, but a read finds more bytes.
    EarlyEnd,
    /// The bytes are sent in records that are [sealed](crate::Seal) in memory.
    Sealed,
    /// The bytes are sent in frames between those of other streams (HTTP/2).
    Framed,
    /// A layer may have changed or replaced the bytes on their way to the socket.
    Transformed,
    /// The bytes are passed to a program or a socket that takes only memory.
    Detached,
    /// This direction does not have the via.
    NotOffered,
    /// The sink is open for appending (`O_APPEND`), and a second descriptor would overwrite.
    Appending,
    /// The file is neither a regular file nor a block device, so it cannot be opened a second time.
    NotReopenable,
    /// `/proc/self/fd` leads to a different file, so it is not the procfs of this process.
    WrongProc,
    /// statx(2) reports that the file cannot be opened with `O_DIRECT`, or only with blocks that are too
    /// large.
    NoDirectIo,
}

impl Reason {
    /// Returns the kernel's error, if that is the reason.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Errno(errno) => Some(*errno),
            _ => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Errno(errno) => return errno.fmt(f),
            Self::EarlyEnd => "it stopped before the end of the source",
            Self::Sealed => "the connection is sealed in user space",
            Self::Framed => "the bytes are sent in frames between those of other streams",
            Self::Transformed => "a layer may have changed the bytes",
            Self::Detached => "the receiver takes only memory",
            Self::NotOffered => "not offered in this direction",
            Self::Appending => "the sink is open for appending",
            Self::NotReopenable => "the file cannot be opened a second time",
            Self::WrongProc => "/proc/self/fd leads to a different file",
            Self::NoDirectIo => "the file has no O_DIRECT",
        })
    }
}

impl std::error::Error for Reason {}

impl From<Errno> for Reason {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<Reason> for io::Error {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Errno(errno) => errno.into(),
            reason => Self::other(reason),
        }
    }
}
