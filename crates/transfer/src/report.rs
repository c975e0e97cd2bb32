//! What a transfer did: the via that ran, its system calls, its bytes, its fallbacks.

use rustix::io::Errno;
use std::fmt;

use crate::direction::Direction;
use crate::settings::CachePolicy;
use crate::via::Via;

/// The account of one transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// From what to what.
    pub direction: Direction,
    /// The via that was asked for.
    pub asked: Via,
    /// The via that moves the bytes now, or moved the last of them. `auto` as long as nothing has
    /// been chosen.
    pub ran: Via,
    /// The vias that moved bytes before that one, in order, each with the offset that it reached:
    /// `auto` turns to another where pages are cold, and the rest of what rode along with memory
    /// leaves by its own via.
    pub earlier: Vec<(Via, u64)>,
    /// Bytes that reached the other end so far. After an error this is the offset reached.
    pub bytes: u64,
    /// System calls so far, by name.
    pub calls: Calls,
    /// The refusals that led down the ladder, in order.
    pub fallbacks: Vec<Fallback>,
    /// The treatment of the page cache that ran: [`CachePolicy::Drop`] where that of
    /// [`Via::Direct`] or [`CachePolicy::Uncached`] fell back.
    pub cache: CachePolicy,
    /// With which error [`CachePolicy::Uncached`] was refused, if it was.
    pub cache_refused: Option<Errno>,
    /// What the error queue said about the sends by [`Via::Zerocopy`].
    pub zerocopy: Notifications,
    /// Pages that [`Via::Cow`] had to copy because they were edited.
    pub pages_copied: u64,
}

/// Whether the CPU copied the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// Not within the reach of these system calls. (A device without scatter-gather may still make
    /// the kernel copy below them.)
    No,
    /// Once or more.
    Yes,
    /// The file system or the socket decides, and has not said so (yet).
    Unknown,
}

impl Report {
    pub(crate) fn new(direction: Direction, via: Via) -> Self {
        Self {
            direction,
            asked: via,
            ran: via,
            earlier: Vec::new(),
            bytes: 0,
            calls: Calls::default(),
            fallbacks: Vec::new(),
            cache: CachePolicy::Keep,
            cache_refused: None,
            zerocopy: Notifications::default(),
            pages_copied: 0,
        }
    }

    /// From now on this via moves the bytes.
    pub(crate) fn turn_to(&mut self, via: Via) {
        let before = self.earlier.last().map_or(0, |&(_, reached)| reached);
        if self.ran != via && self.bytes > before {
            self.earlier.push((self.ran, self.bytes));
        }
        self.ran = via;
    }

    /// The vias that moved bytes, in order, and how many each.
    pub fn moved_by(&self) -> impl Iterator<Item = (Via, u64)> {
        let mut before = 0;
        let stretches = self.earlier.iter().copied().chain([(self.ran, self.bytes)]);
        stretches.filter_map(move |(via, reached)| {
            let bytes = reached - std::mem::replace(&mut before, reached);
            (bytes > 0).then_some((via, bytes))
        })
    }

    /// Whether the CPU copied the bytes that went by the via that [`ran`](Self::ran).
    #[must_use]
    pub fn copied(&self) -> Copied {
        let to_file = matches!(
            self.direction,
            Direction::FileToFile | Direction::SocketToFile | Direction::PipeToFile
        );
        match self.ran {
            Via::Reflink => Copied::No,
            // What stands for a pipe may be a file at its own position, into which pages are copied.
            Via::Sendfile if self.direction == Direction::FileToPipe => Copied::Unknown,
            Via::Splice if self.direction == Direction::PipeToPipe => Copied::Unknown,
            // Into a file the kernel copies from pages to pages.
            Via::Sendfile | Via::Splice => {
                if to_file {
                    Copied::Yes
                } else {
                    Copied::No
                }
            }
            // From a file to a file only a tail that is no whole block.
            Via::Direct => {
                if to_file {
                    Copied::No
                } else {
                    Copied::Yes
                }
            }
            Via::Zerocopy => self.zerocopy.copied(),
            Via::CopyRange | Via::Auto => Copied::Unknown,
            Via::Copy | Via::Mmap | Via::Cow => Copied::Yes,
        }
    }
}

/// What the error queue of a socket said about sends with `MSG_ZEROCOPY`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notifications {
    /// Sends with `MSG_ZEROCOPY`.
    pub sends: u32,
    /// Sends whose memory the kernel has released.
    pub released: u32,
    /// Sends of which it said that it copied the bytes after all, as it does on loopback
    /// (`SO_EE_CODE_ZEROCOPY_COPIED`).
    pub copied: u32,
}

impl Notifications {
    /// Whether the kernel copied, as far as it has said so.
    #[must_use]
    pub fn copied(&self) -> Copied {
        match self {
            Self { copied: 1.., .. } => Copied::Yes,
            Self { sends: 1.., .. } if self.released >= self.sends => Copied::No,
            _ => Copied::Unknown,
        }
    }
}

/// One step down the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// The via that was refused.
    pub from: Via,
    /// Why.
    pub reason: Reason,
    /// After how many bytes.
    pub after: u64,
}

impl Fallback {
    /// Returns the kernel's error, if that was the reason.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self.reason {
            Reason::Errno(errno) => Some(errno),
            Reason::Sealed | Reason::NotOffered => None,
        }
    }
}

/// Why a via did not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The kernel's error; `ENODATA` where the kernel said that the source ends, and a read that it does
    /// not.
    Errno(Errno),
    /// The bytes leave in records that are [sealed](crate::Seal) in memory.
    Sealed,
    /// There is no such via in this direction.
    NotOffered,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Errno(errno) => errno.fmt(f),
            Self::Sealed => f.write_str("the connection is sealed in user space"),
            Self::NotOffered => f.write_str("not offered in this direction"),
        }
    }
}

impl From<Errno> for Reason {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

/// Declares the fields of [`Calls`] and walks over them.
macro_rules! calls {
    ($($name:ident: $what:literal),+ $(,)?) => {
        /// System calls by name. Those that only let go of something (`close`, `munmap`) are not
        /// counted.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Calls {
            $(#[doc = $what] pub $name: u64,)+
        }

        impl Calls {
            /// The name and the number of each call that was made.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name)),+].into_iter().filter(|call| call.1 > 0)
            }

            /// All calls together.
            #[must_use]
            pub fn total(&self) -> u64 {
                self.iter().map(|call| call.1).sum()
            }

            /// Counts the calls of another transfer in.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)+
            }
        }
    };
}

calls! {
    pread64: "`pread(2)`",
    preadv2: "`preadv2(2)` with `RWF_NOWAIT` or `RWF_DONTCACHE`",
    pwrite64: "`pwrite(2)`",
    pwritev2: "`pwritev2(2)` with `RWF_DONTCACHE`",
    read: "`read(2)` of a pipe, of what was left in one, or of bytes that edit a private mapping",
    write: "`write(2)` to a pipe, or of bytes that edit a private mapping",
    recvfrom: "`recv(2)`; by `splice` once at the end, whether it is the end",
    sendto: "`send(2)`",
    recvmsg: "`recvmsg(2)` of the error queue",
    setsockopt: "`setsockopt(2)` of `SO_ZEROCOPY`",
    sendfile: "`sendfile(2)`",
    splice: "`splice(2)`, into the pipe and out of it",
    pipe2: "`pipe2(2)`",
    fcntl: "`fcntl(2)`, for the size of a pipe or the status flags of a file",
    copy_file_range: "`copy_file_range(2)`",
    ioctl: "`ioctl(2)` with `FICLONERANGE`",
    lseek: "`lseek(2)`",
    mmap: "`mmap(2)`",
    madvise: "`madvise(2)`, for reading a mapping in order",
    open: "`openat(2)` of a file that is open, for a descriptor of its own",
    openat2: "`openat2(2)`, of whoever looks names up",
    getdents64: "`getdents64(2)`, of whoever reads directories",
    statx: "`statx(2)`, for the alignment, or of whoever looks names up",
    fstat: "`fstat(2)`, for the size, or which file it is",
    fstatfs: "`fstatfs(2)`, whether a file with no pages lies on an overlay",
    fadvise64: "`posix_fadvise(2)`",
    sync_file_range: "`sync_file_range(2)`",
    cachestat: "`cachestat(2)`",
    mincore: "`mincore(2)`",
}
