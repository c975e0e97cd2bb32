//! From a path to an open file or directory: one openat2(2) and one statx(2) on what it returned,
//! or the answer that the errno stands for. Since Linux 5.6.
//!
//! Only regular files and directories exist here; a FIFO, socket or device is as good as missing.
//!
//! What it does badly: it is a cold path of two system calls that may wait for a disk, which is
//! why the cache stands before it and why callers may run it on a worker thread.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use karez_http::encoding::Coding;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, Statx};
use rustix::io::Errno;

use super::Site;
use super::clock::Clock;
use super::open_file::OpenFile;
use super::root::{Effort, file_type, stat_fd};

/// What a path leads to.
pub(super) enum Node {
    File(Arc<OpenFile>),
    Directory(OwnedFd),
    /// There is something, but nothing that is served.
    Other,
}

/// Why a path leads nowhere.
#[derive(Debug)]
pub(super) enum Refusal {
    Missing,
    Denied,
    Busy,
    /// It could wait for a disk, which was not allowed.
    WouldWait,
    Failed(io::Error),
}

impl Site {
    /// The node at `path`, from the cache if that still holds the truth. With a `coding`, `path`
    /// is that of the precompressed file.
    pub(super) fn reach(
        &self,
        path: &[u8],
        coding: Option<Coding>,
        effort: Effort,
        now: Instant,
    ) -> Result<Node, Refusal> {
        if let Some(file) = self.cache.find(&self.root, path, coding, now) {
            return Ok(Node::File(file));
        }
        // Read before the file's stamps are, so that a file can only seem younger than it is.
        let clock = Clock::read(self.grain);
        let (fd, meta) = self.open_node(path, effort)?;
        Ok(match file_type(&meta) {
            FileType::RegularFile => {
                let edits = self.options.stamps.places(fd.as_fd(), meta.stx_size);
                let edits = edits.map_err(|errno| Refusal::new("stamp", path, errno))?;
                let stamped = edits.map(|edits| (edits, self.options.stamps.tag()));
                let file = Arc::new(OpenFile::new(fd, &meta, path, coding, stamped, &clock));
                if !file.is_young() {
                    self.cache.keep(path, &file, now);
                }
                Node::File(file)
            }
            FileType::Directory => Node::Directory(fd),
            _ => Node::Other,
        })
    }

    fn open_node(&self, path: &[u8], effort: Effort) -> Result<(OwnedFd, Statx), Refusal> {
        let refuse = |operation, errno| Refusal::new(operation, path, errno);
        let fd = match self.root.read(path, effort) {
            // The cache holds descriptors it can do without; a request cannot.
            Err(Errno::MFILE | Errno::NFILE) if self.cache.shed() => self.root.read(path, effort),
            result => result,
        };
        let fd = fd.map_err(|errno| match (effort, errno) {
            (Effort::Cached, Errno::AGAIN | Errno::INVAL) => Refusal::WouldWait,
            _ => refuse("openat2", errno),
        })?;
        let meta = stat_fd(fd.as_fd()).map_err(|errno| refuse("statx", errno))?;
        Ok((fd, meta))
    }
}

impl Refusal {
    pub(super) fn new(operation: &str, path: &[u8], errno: Errno) -> Self {
        match errno {
            // EXDEV: the walk left the root. ENXIO, ENODEV: a socket, or a device without a
            // driver. EINVAL: a NUL in the name.
            Errno::NOENT
            | Errno::NOTDIR
            | Errno::XDEV
            | Errno::LOOP
            | Errno::NAMETOOLONG
            | Errno::NXIO
            | Errno::NODEV
            | Errno::INVAL => Self::Missing,
            Errno::ACCESS | Errno::PERM => Self::Denied,
            Errno::MFILE | Errno::NFILE | Errno::AGAIN | Errno::INTR => Self::Busy,
            _ => Self::Failed(failure(operation, path, errno)),
        }
    }
}

/// An error that carries its operation and object: `openat2 "a/b.txt": Input/output error (…)`.
pub(super) fn failure(operation: &str, path: &[u8], errno: Errno) -> io::Error {
    let error = io::Error::from(errno);
    let path = String::from_utf8_lossy(path);
    io::Error::new(error.kind(), format!("{operation} {path:?}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_errno_has_its_answer() {
        let answer = |errno| Refusal::new("openat2", b"a/b.txt", errno);
        for errno in [Errno::NOENT, Errno::NOTDIR, Errno::XDEV, Errno::LOOP, Errno::INVAL] {
            assert!(matches!(answer(errno), Refusal::Missing), "{errno:?}");
        }
        assert!(matches!(answer(Errno::ACCESS), Refusal::Denied));
        assert!(matches!(answer(Errno::PERM), Refusal::Denied));
        assert!(matches!(answer(Errno::MFILE), Refusal::Busy));
        assert!(matches!(answer(Errno::AGAIN), Refusal::Busy));
        let Refusal::Failed(error) = answer(Errno::IO) else { panic!("EIO is a failure") };
        assert_eq!(error.to_string(), "openat2 \"a/b.txt\": Input/output error (os error 5)");
    }
}
