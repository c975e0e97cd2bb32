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

/// The directory that is served.
pub(super) struct Root {
    fd: OwnedFd,
}

impl Root {
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let failed = |operation: &str, errno: Errno| {
            let error = io::Error::from(errno);
            io::Error::new(error.kind(), format!("{operation} {dir:?}: {error}"))
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(dir, flags, Mode::empty()).map_err(|e| failed("open", e))?;
        let root = Self { fd };
        // A kernel or a sandbox without openat2 is better found out now than at every request.
        root.look(b"").map_err(|e| failed("openat2", e))?;
        Ok(root)
    }

    /// Opens a file or a directory for reading; never waits for a FIFO's writer.
    pub(super) fn read(&self, path: &[u8], effort: Effort) -> Result<OwnedFd, Errno> {
        self.walk(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, effort)
    }

    /// Finds what a name stands for without opening it: enough for statx, not for reading.
    pub(super) fn look(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        self.walk(path, OFlags::PATH, Effort::Whole)
    }

    /// What the name means now, its last component not followed. This walk is *not* confined to
    /// the root: it may confirm what is known of a name, never introduce a file.
    pub(super) fn stat(&self, path: &[u8]) -> Result<Statx, Errno> {
        stat_at(self.fd.as_fd(), path)
    }

    /// Whether the name is that of a directory beneath the root, readable or not.
    pub(super) fn is_directory(&self, path: &[u8]) -> bool {
        let meta = self.look(path).and_then(|fd| stat_fd(fd.as_fd()));
        meta.is_ok_and(|meta| file_type(&meta) == FileType::Directory)
    }

    fn walk(&self, path: &[u8], flags: OFlags, effort: Effort) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        let mut beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        beneath.set(ResolveFlags::CACHED, effort == Effort::Cached);
        let flags = flags | OFlags::CLOEXEC;
        let mut tries = 0;
        loop {
            tally::count(Call::Openat2);
            match rustix::fs::openat2(&self.fd, path, flags, Mode::empty(), beneath) {
                Err(Errno::AGAIN) if effort == Effort::Cached => return Err(Errno::AGAIN),
                Err(Errno::AGAIN | Errno::INTR) if tries < RETRIES => tries += 1,
                result => return result,
            }
        }
    }
}

/// What an entry of an open directory is, not followed if it is a link.
pub(super) fn stat_at(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Statx, Errno> {
    tally::count(Call::Statx);
    rustix::fs::statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)
}

/// What a descriptor holds.
pub(super) fn stat_fd(fd: BorrowedFd<'_>) -> Result<Statx, Errno> {
    let itself: &CStr = c"";
    tally::count(Call::Statx);
    rustix::fs::statx(fd, itself, AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
}

pub(super) fn file_type(meta: &Statx) -> FileType {
    FileType::from_raw_mode(meta.stx_mode.into())
}

/// A rename anywhere in the system can send a ".." walk back; so many in a row mean a busy host.
const RETRIES: u32 = 16;
