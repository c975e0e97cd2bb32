//! Opening regular files: openat2(2) with `RESOLVE_CACHED` (Linux 5.12) does not wait for a disk.

use rustix::fs::{CWD, Mode, OFlags, openat};
use std::fs::File;
use std::io;
use std::path::Path;

/// A FIFO must not block, nor a terminal become that of the process.
const FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// Opens a file for reading; may block.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    Ok(openat(CWD, path, FLAGS, Mode::empty())?.into())
}

#[cfg(feature = "serve-dir")]
/// Opens a file if all directories on its path are in memory, without waiting for a disk. `WouldBlock` if
/// that is unknown, or before Linux 5.12.
pub(crate) fn open_cached(path: &Path) -> io::Result<File> {
    use rustix::fs::{ResolveFlags, openat2};
    use rustix::io::Errno;
    match openat2(CWD, path, FLAGS, Mode::empty(), ResolveFlags::CACHED) {
        Ok(file) => Ok(file.into()),
        Err(Errno::AGAIN | Errno::INVAL | Errno::NOSYS | Errno::PERM) => {
            Err(io::ErrorKind::WouldBlock.into())
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Returns the size of a regular file.
pub(crate) fn regular_size(file: &File) -> io::Result<u64> {
    let metadata = file.metadata()?;
    if metadata.is_file() {
        return Ok(metadata.len());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
}
