//! Opens a file a second time through `/proc/self/fd` (proc(5)): a descriptor with its own position and
//! status flags, which do not affect other users of the file.
//!
//! It opens the inode and not a name, which also works for an unlinked file and one without a name
//! (`O_TMPFILE`). Linux 2.2.
//!
//! # Limitations
//!
//! It needs /proc, and permission to open the file: a file that is open for writing while its mode
//! forbids that (a copy of a read-only file) is refused to an ordinary user with `EACCES`. A status
//! flag that is changed later (`F_SETFL`) does not reach the new descriptor.

use rustix::fd::OwnedFd;
use rustix::fs::{FileType, Mode, OFlags, Stat, fcntl_getfl, fstat};
use rustix::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use crate::calls::Calls;
use crate::report::Reason;

/// The status flags that the new descriptor inherits: the caller decides how a write reaches the disk.
const INHERITED: OFlags = OFlags::DSYNC.union(OFlags::SYNC).union(OFlags::DIRECT);

/// Opens `file` a second time with this access mode and these flags.
///
/// # Errors
/// [`Reason::Appending`] to write to a file that is open for appending: the new descriptor would
/// overwrite. [`Reason::NotReopenable`] for a file without a position, [`Reason::WrongProc`], and the
/// errors of open(2).
pub(crate) fn reopen(
    file: BorrowedFd<'_>,
    flags: OFlags,
    calls: &mut Calls,
) -> Result<OwnedFd, Reason> {
    let inherited = status_flags(file, calls)?;
    let writes = flags & OFlags::ACCMODE != OFlags::RDONLY;
    if writes && inherited.contains(OFlags::APPEND) {
        return Err(Reason::Appending);
    }
    let known = stat(file, calls)?;
    // A FIFO would block here until its other end is opened.
    let kind = FileType::from_raw_mode(known.st_mode);
    if !matches!(kind, FileType::RegularFile | FileType::BlockDevice) {
        return Err(Reason::NotReopenable);
    }
    calls.open += 1;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = flags | OFlags::CLOEXEC | inherited & INHERITED;
    let opened = rustix::fs::open(path, flags, Mode::empty())?;
    // Where /proc is not procfs, or is that of another process, it may be a different file.
    let found = stat(opened.as_fd(), calls)?;
    let is_same = (known.st_dev, known.st_ino) == (found.st_dev, found.st_ino);
    if is_same { Ok(opened) } else { Err(Reason::WrongProc) }
}

/// Returns whether writes append to `file`, whatever their offset (`O_APPEND`).
pub(crate) fn appends(file: BorrowedFd<'_>, calls: &mut Calls) -> bool {
    status_flags(file, calls).is_ok_and(|flags| flags.contains(OFlags::APPEND))
}

fn status_flags(file: BorrowedFd<'_>, calls: &mut Calls) -> io::Result<OFlags> {
    calls.fcntl += 1;
    fcntl_getfl(file)
}

fn stat(file: BorrowedFd<'_>, calls: &mut Calls) -> io::Result<Stat> {
    calls.fstat += 1;
    fstat(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{SeekFrom, seek, tell};
    use std::fs::File;

    fn reopened(file: &File, flags: OFlags) -> Result<OwnedFd, Reason> {
        reopen(file.as_fd(), flags, &mut Calls::default())
    }

    #[test]
    fn the_new_descriptor_has_its_own_position() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(100).unwrap();
        seek(&file, SeekFrom::Start(7)).unwrap();
        let own = reopened(&file, OFlags::WRONLY).unwrap();
        assert_eq!(tell(&own), Ok(0));
        seek(&own, SeekFrom::Start(50)).unwrap();
        assert_eq!(tell(&file), Ok(7));
    }

    #[test]
    fn synchronous_writes_stay_synchronous() {
        let named = tempfile::NamedTempFile::new().unwrap();
        let flags = OFlags::WRONLY | OFlags::DSYNC;
        let file = File::from(rustix::fs::open(named.path(), flags, Mode::empty()).unwrap());
        let own = reopened(&file, OFlags::WRONLY).unwrap();
        assert!(fcntl_getfl(&own).unwrap().contains(OFlags::DSYNC));
    }

    #[test]
    fn appending_files_and_pipes_are_refused() {
        let named = tempfile::NamedTempFile::new().unwrap();
        let file = File::options().append(true).open(named.path()).unwrap();
        assert_eq!(reopened(&file, OFlags::WRONLY).unwrap_err(), Reason::Appending);
        assert!(appends(file.as_fd(), &mut Calls::default()));
        let (_read, write) = rustix::pipe::pipe().unwrap();
        assert_eq!(
            reopened(&File::from(write), OFlags::WRONLY).unwrap_err(),
            Reason::NotReopenable
        );
    }
}
