//! The served directory, and the one way to a name beneath it: openat2(2) with
//! `RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS`, since Linux 5.6.
//!
//! The kernel itself refuses a walk that leaves the root, at whatever component and however the
//! tree changes meanwhile; nothing is checked by name first and opened by name later.
//!
//! What it does badly: opening tells the other side. A FIFO's writer is woken and a device's
//! driver is asked, even though neither is served. A link with ".." in it races with renames: the
//! kernel answers `EAGAIN` and the walk is repeated. A link with an absolute target leaves the
//! root by definition, even one that points back into it.

use std::ffi::CStr;
use std::io;
use std::path::Path;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags};
use rustix::io::Errno;
use rustix::path::Arg;

use super::mounts::is_remote;
use super::tally::{self, Call};

/// Whether a walk may wait for a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effort {
    /// It takes what it takes.
    Whole,
    /// Only what the kernel has in its caches (`RESOLVE_CACHED`, Linux 5.12); else `EAGAIN`, or
    /// `EINVAL` from a kernel that does not know how.
    Cached,
}

/// What a name is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To be read, if it is a file or a directory; never waits for a FIFO's writer.
    Read,
    /// To see what it is: enough for statx, not for reading.
    Look,
}

impl Purpose {
    pub(super) fn flags(self) -> OFlags {
        match self {
            Self::Read => OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC,
            Self::Look => OFlags::PATH | OFlags::CLOEXEC,
        }
    }
}

impl Effort {
    pub(super) fn resolves(self) -> ResolveFlags {
        let mut beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        beneath.set(ResolveFlags::CACHED, self == Self::Cached);
        beneath
    }
}

/// A directory that is served.
pub(super) struct Root {
    fd: OwnedFd,
    identity: RootIdentity,
    generation: u64,
    since: u64,
    remote: bool,
}

/// What tells a directory from another that has its name. An open descriptor pins the numbers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RootIdentity {
    device: (u32, u32),
    inode: u64,
    /// What is mounted beneath depends on where it is mounted itself.
    mount: u64,
}

impl RootIdentity {
    pub(super) const ASKED: StatxFlags = StatxFlags::INO.union(StatxFlags::MNT_ID);

    pub(super) fn of(meta: &Statx) -> Self {
        // Before Linux 5.8 it is not filled in.
        let has_mount = StatxFlags::from_bits_retain(meta.stx_mask).contains(StatxFlags::MNT_ID);
        Self {
            device: (meta.stx_dev_major, meta.stx_dev_minor),
            inode: meta.stx_ino,
            mount: if has_mount { meta.stx_mnt_id } else { 0 },
        }
    }
}

impl Root {
    pub(super) fn at(dir: &Path) -> io::Result<Self> {
        let failed = |operation: &str, errno: Errno| {
            let error = io::Error::from(errno);
            io::Error::new(error.kind(), format!("{operation} {dir:?}: {error}"))
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(dir, flags, Mode::empty()).map_err(|e| failed("open", e))?;
        let root = Self::new(fd).map_err(|e| failed("statx", e))?.after(0, 0);
        // A kernel or a sandbox without openat2 is better found out now than at every request.
        root.look(b"").map_err(|e| failed("openat2", e))?;
        Ok(root)
    }

    /// A directory that was opened. Only what never changes of its inode is asked for, so that no
    /// server of a network file system is.
    pub(super) fn new(fd: OwnedFd) -> Result<Self, Errno> {
        tally::count(Call::Statx);
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let meta = rustix::fs::statx(&fd, c"", flags, RootIdentity::ASKED)?;
        let identity = RootIdentity::of(&meta);
        Ok(Self { fd, identity, generation: 0, since: 0, remote: false })
    }

    /// The same, which took another's place in this second and has so many before it.
    pub(super) fn after(self, generation: u64, second: u64) -> Self {
        // A file system that does not say what it is may be remote.
        let remote = is_remote(self.fd.as_fd()).unwrap_or(true);
        Self { generation, since: second, remote, ..self }
    }

    pub(super) fn identity(&self) -> &RootIdentity {
        &self.identity
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// The second in which its names took the places of another's; 0 for the first.
    pub(super) fn since(&self) -> u64 {
        self.since
    }

    /// Whether a walk to it may wait for a program or another host, whatever the kernel has in its
    /// caches.
    pub(super) fn is_remote(&self) -> bool {
        self.remote
    }

    /// Finds what a name stands for without opening it: enough for statx, not for reading.
    pub(super) fn look(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        self.open(path, Purpose::Look, Effort::Whole)
    }

    /// Opens what a name stands for.
    pub(super) fn open(
        &self,
        path: &[u8],
        purpose: Purpose,
        effort: Effort,
    ) -> Result<OwnedFd, Errno> {
        let (flags, beneath) = (purpose.flags(), effort.resolves());
        let mut tries = 0;
        loop {
            tally::count(Call::Openat2);
            match rustix::fs::openat2(&self.fd, name_of(path), flags, Mode::empty(), beneath) {
                Err(Errno::AGAIN) if effort == Effort::Cached => return Err(Errno::AGAIN),
                Err(errno) if may_try_again(errno, tries) => tries += 1,
                result => return result,
            }
        }
    }

    /// What the name means now, its last component not followed. This walk is *not* confined to
    /// the root: it may confirm what is known of a name, never introduce a file.
    pub(super) fn stat(&self, path: &[u8]) -> Result<Statx, Errno> {
        stat_at(self.fd.as_fd(), path)
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// How a path from the root is written for the kernel.
pub(super) fn name_of(path: &[u8]) -> &[u8] {
    if path.is_empty() { b"." } else { path }
}

/// Whether a walk that ended so after so many is worth another.
pub(super) fn may_try_again(errno: Errno, tries: u32) -> bool {
    matches!(errno, Errno::AGAIN | Errno::INTR) && tries < RETRIES
}

/// What an entry of an open directory is, not followed if it is a link.
pub(super) fn stat_at(dir: BorrowedFd<'_>, name: impl Arg + Copy) -> Result<Statx, Errno> {
    retried(|| rustix::fs::statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS))
}

/// The same, or with no name what a descriptor holds, as the kernel remembers it
/// (`AT_STATX_DONT_SYNC`): a remote file system is not asked.
pub(super) fn stat_known_at(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Statx, Errno> {
    tally::count(Call::Statx);
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    rustix::fs::statx(dir, name, flags, StatxFlags::BASIC_STATS)
}

/// What a descriptor holds.
pub(super) fn stat_fd(fd: BorrowedFd<'_>) -> Result<Statx, Errno> {
    let itself: &CStr = c"";
    retried(|| rustix::fs::statx(fd, itself, AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS))
}

/// Makes a statx(2) again that a signal has interrupted, but not for ever.
fn retried(mut statx: impl FnMut() -> Result<Statx, Errno>) -> Result<Statx, Errno> {
    let mut tries = 0;
    loop {
        tally::count(Call::Statx);
        match statx() {
            Err(Errno::INTR) if tries < RETRIES => tries += 1,
            result => return result,
        }
    }
}

pub(super) fn file_type(meta: &Statx) -> FileType {
    FileType::from_raw_mode(meta.stx_mode.into())
}

/// A rename anywhere in the system can send a ".." walk back; so many in a row mean a busy host.
const RETRIES: u32 = 16;
