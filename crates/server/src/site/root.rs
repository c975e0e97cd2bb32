//! The served directory, and the one way to a name beneath it: openat2(2) with
//! `RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS`, since Linux 5.6.
//!
//! The kernel itself rejects a walk that leaves the root, at any component and even if the tree changes
//! meanwhile; no name is checked first and opened later.
//!
//! # Limitations
//!
//! Opening has effects: the writer of a FIFO is woken and the driver of a device is called, although
//! neither is served. A link with ".." in it races with renames: the kernel returns `EAGAIN` and the walk
//! is repeated. A link with an absolute target leaves the root by definition, even if it points back into
//! it.

use std::ffi::CStr;
use std::io;
use std::path::Path;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    Access, AtFlags, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags, makedev,
};
use rustix::io::Errno;
use rustix::path::Arg;

use super::syscall_counts::{self, Syscall};

/// Whether a walk may wait for a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LookupMode {
    /// The walk may wait.
    MayBlock,
    /// Only names that the kernel has in its caches are walked (`RESOLVE_CACHED`, Linux 5.12); otherwise
    /// `EAGAIN`, or `EINVAL` from an older kernel.
    CachedOnly,
}

/// The way a name is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OpenMode {
    /// For reading. Never waits for the writer of a FIFO.
    Read,
    /// Without access to the content (`O_PATH`): enough for statx(2).
    Path,
}

impl OpenMode {
    pub(super) fn flags(self) -> OFlags {
        match self {
            Self::Read => OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC,
            Self::Path => OFlags::PATH | OFlags::CLOEXEC,
        }
    }
}

impl LookupMode {
    pub(super) fn resolves(self) -> ResolveFlags {
        let mut beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        beneath.set(ResolveFlags::CACHED, self == Self::CachedOnly);
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

/// The identity of a directory, as opposed to its name. An open descriptor pins the numbers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RootIdentity {
    device: (u32, u32),
    inode: u64,
    /// The mounts beneath the directory depend on its own mount. `None` before Linux 5.8.
    mount: Option<u64>,
}

impl RootIdentity {
    pub(super) const ASKED: StatxFlags = StatxFlags::INO.union(StatxFlags::MNT_ID);

    pub(super) fn of(meta: &Statx) -> Self {
        let has_mount = StatxFlags::from_bits_retain(meta.stx_mask).contains(StatxFlags::MNT_ID);
        Self {
            device: (meta.stx_dev_major, meta.stx_dev_minor),
            inode: meta.stx_ino,
            mount: has_mount.then_some(meta.stx_mnt_id),
        }
    }

    pub(super) fn device_number(&self) -> u64 {
        makedev(self.device.0, self.device.1)
    }

    pub(super) fn mount_id(&self) -> Option<u64> {
        self.mount
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
        // A kernel or a sandbox without openat2 is reported now and not at every request.
        root.look(b"").map_err(|e| failed("openat2", e))?;
        if root.is_outside_sandbox() {
            let text = format!("open {dir:?}: outside the sandbox of this process");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        Ok(root)
    }

    /// Returns whether the process may not read the directory although its mode permits it: a Landlock rule, or
    /// another security module, forbids it.
    pub(super) fn is_outside_sandbox(&self) -> bool {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&self.fd, c".", flags, Mode::empty());
        let permits = || rustix::fs::accessat(&self.fd, c".", Access::READ_OK, AtFlags::EACCESS);
        matches!(opened, Err(Errno::ACCESS)) && permits().is_ok()
    }

    /// Returns the root for a directory that was opened. The statx(2) asks only for fields of the inode
    /// that never change, so it is not sent to the server of a network file system.
    pub(super) fn new(fd: OwnedFd) -> Result<Self, Errno> {
        syscall_counts::count(Syscall::Statx);
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let meta = rustix::fs::statx(&fd, c"", flags, RootIdentity::ASKED)?;
        let identity = RootIdentity::of(&meta);
        Ok(Self { fd, identity, generation: 0, since: 0, remote: false })
    }

    /// Returns the same root, which replaced its predecessor in this second.
    pub(super) fn after(self, generation: u64, second: u64) -> Self {
        // A file system whose type is unknown may be remote.
        let remote = karez_transfer::is_remote(&self.fd).unwrap_or(true);
        Self { generation, since: second, remote, ..self }
    }

    pub(super) fn identity(&self) -> &RootIdentity {
        &self.identity
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns the second in which it replaced another root; 0 for the first.
    pub(super) fn since(&self) -> u64 {
        self.since
    }

    /// Returns whether a walk to it may wait for a program or another host, even if the kernel has it in
    /// its caches.
    pub(super) fn is_remote(&self) -> bool {
        self.remote
    }

    /// Opens a name without access to its content: enough for statx(2).
    pub(super) fn look(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        self.open(path, OpenMode::Path, LookupMode::MayBlock)
    }

    /// Opens a name.
    pub(super) fn open(
        &self,
        path: &[u8],
        open_mode: OpenMode,
        mode: LookupMode,
    ) -> Result<OwnedFd, Errno> {
        let (flags, beneath) = (open_mode.flags(), mode.resolves());
        let mut tries = 0;
        loop {
            syscall_counts::count(Syscall::Openat2);
            match rustix::fs::openat2(&self.fd, name_of(path), flags, Mode::empty(), beneath) {
                Err(Errno::AGAIN) if mode == LookupMode::CachedOnly => return Err(Errno::AGAIN),
                Err(errno) if may_try_again(errno, tries) => tries += 1,
                result => return result,
            }
        }
    }

    /// Returns the attributes of a name, its last component not followed. This walk is *not* confined to
    /// the root: it may validate a cached file, but never introduce one.
    pub(super) fn stat(&self, path: &[u8]) -> Result<Statx, Errno> {
        stat_at(self.fd.as_fd(), path)
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Returns a path from the root in the form that openat2(2) takes.
pub(super) fn name_of(path: &[u8]) -> &[u8] {
    if path.is_empty() { b"." } else { path }
}

/// Returns whether a walk that failed is worth another try.
pub(super) fn may_try_again(errno: Errno, tries: u32) -> bool {
    matches!(errno, Errno::AGAIN | Errno::INTR) && tries < RETRIES
}

/// Returns the attributes of an entry of an open directory, links not followed.
pub(super) fn stat_at(dir: BorrowedFd<'_>, name: impl Arg + Copy) -> Result<Statx, Errno> {
    retried(|| rustix::fs::statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS))
}

/// Returns the attributes of the file that an absolute path leads to, links followed. Like
/// [`Root::stat`], this confirms and never introduces.
pub(super) fn stat_followed(path: impl Arg + Copy) -> Result<Statx, Errno> {
    retried(|| rustix::fs::statx(rustix::fs::CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS))
}

/// Returns the same, or of the descriptor itself if the name is empty, as the kernel remembers it
/// (`AT_STATX_DONT_SYNC`): a remote file system is not asked.
pub(super) fn stat_known_at(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Statx, Errno> {
    syscall_counts::count(Syscall::Statx);
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    rustix::fs::statx(dir, name, flags, StatxFlags::BASIC_STATS)
}

/// Returns the attributes of an open file.
pub(super) fn stat_fd(fd: BorrowedFd<'_>) -> Result<Statx, Errno> {
    let itself: &CStr = c"";
    retried(|| rustix::fs::statx(fd, itself, AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS))
}

/// Repeats a statx(2) that a signal has interrupted, up to [`RETRIES`] times.
fn retried(mut statx: impl FnMut() -> Result<Statx, Errno>) -> Result<Statx, Errno> {
    let mut tries = 0;
    loop {
        syscall_counts::count(Syscall::Statx);
        match statx() {
            Err(Errno::INTR) if tries < RETRIES => tries += 1,
            result => return result,
        }
    }
}

pub(super) fn file_type(meta: &Statx) -> FileType {
    FileType::from_raw_mode(meta.stx_mode.into())
}

/// A rename anywhere in the system interrupts a walk with ".."; so many in a row mean a busy host.
const RETRIES: u32 = 16;
