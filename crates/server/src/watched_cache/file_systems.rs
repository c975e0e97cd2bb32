//! The file systems whose changes inotify reports: those on which every change by a process of this
//! host passes the kernel's VFS, by f_type of statfs(2).
//!
//! Refused are network and cluster file systems (another host changes files), FUSE and 9P (a
//! program does), ZFS (a rollback changes files below the VFS), proc, sysfs and other file systems
//! that the kernel fills. An unknown number is refused.
//!
//! An overlay is accepted: since Linux 4.19 its files are opened as inodes of the overlay, which
//! keep their identity in memory when they are copied up (the kernel hashes them by the lower inode
//! for fsnotify). A lower file with several hard links may get several inodes and is refused.
//!
//! # Limitations
//! A change of an overlay's layers from outside is not reported; the kernel calls it undefined. A
//! write through an overlay raises no event in the layer, where the layer itself is served.
//! Directories that fold case by Unicode's tables are refused; ASCII case, which XFS can ignore,
//! is folded by the cache itself.

use rustix::fd::{AsFd as _, BorrowedFd};
use rustix::fs::{
    AtFlags, IFlags, Mode, OFlags, StatxFlags, fstatfs, ioctl_getflags, open, openat, statx,
};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{PoisonError, RwLock};

use super::not_watchable::{NotWatchable, Reason};

/// The number of overlay file systems.
pub(super) const OVERLAY: u64 = 0x794c_7630;

const EXT: u64 = 0xef53;
const F2FS: u64 = 0xf2f5_2010;
const TMPFS: u64 = 0x0102_1994;

/// ext2 to ext4, XFS, Btrfs, F2FS, tmpfs, ramfs, overlay; read-only: squashfs, EROFS, ISO 9660.
const REPORTING: [u64; 10] = [
    EXT,
    0x5846_5342,
    0x9123_683e,
    F2FS,
    TMPFS,
    0x8584_58f6,
    OVERLAY,
    0x7371_7368,
    0xe0f5_e1e2,
    0x9660,
];

/// Refuses a file system that may change without an event, and returns its number otherwise.
pub(super) fn check(fd: BorrowedFd<'_>) -> Result<u64, NotWatchable> {
    let found = fstatfs(fd).map_err(|errno| NotWatchable::system("fstatfs", errno, fd))?;
    // The width and sign of the field depend on the architecture; the numbers have 32 bits.
    #[allow(clippy::cast_sign_loss, clippy::unnecessary_cast, reason = "only bits matter")]
    let magic = found.f_type as u64 & 0xffff_ffff;
    if REPORTING.contains(&magic) {
        Ok(magic)
    } else {
        Err(NotWatchable::of(Reason::FileSystem(magic), fd))
    }
}

/// Refuses a directory that folds case by Unicode's tables (`FS_CASEFOLD_FL`, chattr +F).
pub(super) fn check_case(directory: BorrowedFd<'_>, magic: u64) -> Result<(), NotWatchable> {
    if !matches!(magic, EXT | F2FS | TMPFS) {
        return Ok(());
    }
    // A descriptor that was opened by O_PATH has no flags.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let readable = match openat(directory, ".", flags, Mode::empty()) {
        Err(Errno::ACCESS) if is_known(directory) => return Ok(()),
        opened => opened.map_err(|errno| NotWatchable::system("openat", errno, directory))?,
    };
    match ioctl_getflags(&readable) {
        Ok(flags) if flags.contains(CASEFOLD) => {
            Err(NotWatchable::of(Reason::CaseFolded, directory))
        }
        // A file system without flags cannot fold case.
        Ok(_) | Err(Errno::NOTTY | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL) => Ok(()),
        Err(errno) => Err(NotWatchable::system("FS_IOC_GETFLAGS", errno, directory)),
    }
}

/// A directory: the numbers of its device and inode, and its time of birth, by which another one that gets the
/// same numbers later is told apart.
type Identity = (u32, u32, u64, i64, u32);

/// Directories that do not fold case. Only that of an empty one can change, and these are on the way to a root.
static KNOWN: RwLock<BTreeSet<Identity>> = RwLock::new(BTreeSet::new());

/// Remembers that a directory above a root does not fold case, if so. Files are cached with watches (inotify(7)) on
/// the directories of their path only if these do not; a process that confines itself cannot open
/// them afterwards, so it calls this for each of them before.
pub fn remember_directory(directory: &Path) {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(directory) = open(directory, flags, Mode::empty()) else { return };
    let fd = directory.as_fd();
    if check(fd).is_ok_and(|magic| check_case(fd, magic).is_ok())
        && let Some(identity) = identity(fd)
    {
        KNOWN.write().unwrap_or_else(PoisonError::into_inner).insert(identity);
    }
}

fn is_known(directory: BorrowedFd<'_>) -> bool {
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    identity(directory).is_some_and(|identity| known.contains(&identity))
}

fn identity(directory: BorrowedFd<'_>) -> Option<Identity> {
    let asked = StatxFlags::INO | StatxFlags::BTIME;
    let found = statx(directory, c"", AtFlags::EMPTY_PATH, asked).ok()?;
    let born = found.stx_btime;
    StatxFlags::from_bits_retain(found.stx_mask).contains(asked).then_some((
        found.stx_dev_major,
        found.stx_dev_minor,
        found.stx_ino,
        born.tv_sec,
        born.tv_nsec,
    ))
}

const CASEFOLD: IFlags = IFlags::from_bits_retain(0x4000_0000);

#[cfg(test)]
mod tests {
    #![allow(clippy::print_stdout, reason = "a skipped test says why")]

    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn a_directory_is_known_by_more_than_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("d");
        let open_it = || std::fs::File::open(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(!is_known(open_it().as_fd()));
        if identity(open_it().as_fd()).is_none() {
            println!("skipped: no times of birth here");
            return;
        }
        remember_directory(&path);
        assert!(is_known(open_it().as_fd()));
        std::fs::rename(&path, directory.path().join("old")).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(!is_known(open_it().as_fd()));
        remember_directory(Path::new("/nonexistent"));
    }

    #[test]
    fn file_systems_that_the_kernel_fills_are_refused() {
        for (path, number) in [("/proc", 0x9fa0), ("/sys", 0x6265_6572)] {
            let Ok(directory) = std::fs::File::open(path) else { continue };
            let refusal = check(directory.as_fd()).unwrap_err();
            assert!(
                matches!(refusal.reason(), Reason::FileSystem(it) if *it == number),
                "{refusal}"
            );
        }
    }
}
