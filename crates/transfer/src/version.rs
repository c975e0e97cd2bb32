//! The version of a file's content, by which a transfer notices that the file was written while it is sent.
//! statx(2), since Linux 4.11.
//!
//! A write changes the modification time before it changes the content. So if size and modification time are
//! the same before the first byte is read and after the last one, all bytes are of one version.
//! Renaming, unlinking, linking and chmod(2) change neither, so a file that is replaced by rename(2) is sent to
//! its end. The change time is not compared, because it does change then.
//!
//! # Limitations
//!
//! Not noticed are: a write whose time stamp equals that of the one before, which is possible within a tick of
//! the kernel's clock where the file system has no multigrain time stamps (btrfs, ext4, tmpfs and XFS have them
//! since Linux 6.13); a call of write(2) that had set the time before the version was taken, and copies its
//! bytes later; a writer that sets the modification time back; and stores to a shared mapping, which change
//! the time at the first fault of a page and after each writeback. Vias that pass pages by reference are
//! verified before the last pages are passed: those in the send buffer may still change, until the peer has
//! received them. `copy` and `direct` are verified between the last read and its send. A file on a remote file
//! system is compared by the attributes that the kernel has cached, because another call might block.

use rustix::fs::{AtFlags, Statx, StatxFlags, statx};
use std::error::Error;
use std::fmt;
use std::io;
use std::os::fd::AsFd;

/// Identifies the version of a file's content by its size and its modification time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, u32),
}

impl Version {
    /// Returns the version of an open file (statx(2)). Does not wait for a remote file system
    /// (`AT_STATX_DONT_SYNC`).
    ///
    /// # Errors
    /// As statx(2).
    pub fn of(file: impl AsFd) -> io::Result<Self> {
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let meta = statx(file, c"", flags, StatxFlags::SIZE | StatxFlags::MTIME)?;
        Ok(Self::from(&meta))
    }
}

impl From<&Statx> for Version {
    fn from(meta: &Statx) -> Self {
        let modified = &meta.stx_mtime;
        Self { size: meta.stx_size, modified: (modified.tv_sec, modified.tv_nsec) }
    }
}

/// The error for a file that was written while it was sent, see
/// [`FileToSocket::verified`](crate::FileToSocket::verified); inside an [`io::Error`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed;

impl Changed {
    /// Returns whether an error is this one.
    #[must_use]
    pub fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Self>())
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the file changed while it was sent")
    }
}

impl Error for Changed {}

impl From<Changed> for io::Error {
    fn from(changed: Changed) -> Self {
        Self::other(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write as _;
    use std::time::{Duration, SystemTime};

    #[test]
    fn only_writes_make_another_version() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "water").unwrap();
        let mut file = fs::File::options().append(true).open(&path).unwrap();
        // Old, so that the write below changes it on every kernel.
        file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
        let version = Version::of(&file).unwrap();
        fs::hard_link(&path, directory.path().join("link")).unwrap();
        fs::rename(&path, directory.path().join("renamed")).unwrap();
        fs::remove_file(directory.path().join("link")).unwrap();
        let mut mode = file.metadata().unwrap().permissions();
        mode.set_readonly(true);
        file.set_permissions(mode).unwrap();
        fs::write(directory.path().join("new"), "other").unwrap();
        fs::rename(directory.path().join("new"), directory.path().join("renamed")).unwrap();
        assert_eq!(Version::of(&file).unwrap(), version);
        file.write_all(b"!").unwrap();
        let longer = Version::of(&file).unwrap();
        assert_ne!(longer, version);
        file.set_len(5).unwrap();
        assert_ne!(Version::of(&file).unwrap(), version, "cut back to the size");
    }

    #[test]
    fn the_error_is_recognized() {
        assert!(Changed::is(&Changed.into()));
        assert!(!Changed::is(&io::Error::other("another")));
    }
}
