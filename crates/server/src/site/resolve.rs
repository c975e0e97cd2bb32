//! From a path to an open file or directory: one openat2(2) and one statx(2) on what it returned,
//! or the answer that the errno stands for. Since Linux 5.6.
//!
//! Only regular files and directories exist here; a FIFO, socket or device is as good as missing.
//!
//! What it does badly: it is a cold path of two system calls that may wait for a disk, which is
//! why the cache stands before it, why callers may run it on a worker thread, and why a ring may
//! make both calls and only have their results judged here.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::time::Instant;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, Statx, makedev};
use rustix::io::Errno;

use super::Site;
use super::clock::Clock;
use super::document_root::RootError;
use super::open_file::{Description, OpenFile};
use super::root::{Effort, Purpose, Root, file_type, stat_fd};
use super::search::{Aim, Search};

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
    /// The node that is looked at, from the cache if that still holds the truth; else beneath the
    /// root of this search, which is found out before.
    pub(super) fn reach(
        &self,
        search: &mut Search,
        effort: Effort,
        now: Instant,
    ) -> Result<Node, Refusal> {
        if search.root.is_none() && !self.root.takes(search.aim().path) {
            self.find_root(search, effort)?;
        }
        let aim = search.aim();
        if aim.purpose == Purpose::Read {
            let root = search.root.as_deref();
            if let Some(file) = self.cache.find(root, aim.path, aim.coding, now) {
                return Ok(Node::File(file));
            }
        }
        let root = self.find_root(search, effort)?;
        let aim = search.aim();
        // Read before the file's stamps are, so that a file can only seem younger than it is.
        let clock = Clock::read(self.grain);
        let opened = self.open_node(&root, &aim, effort)?;
        self.meet(&root, &aim, opened, &clock, effort, now)
    }

    /// The directory that all the names of a search are looked up in, so that an answer is never made
    /// of two trees.
    pub(super) fn find_root(
        &self,
        search: &mut Search,
        effort: Effort,
    ) -> Result<Arc<Root>, Refusal> {
        if let Some(root) = &search.root {
            return Ok(Arc::clone(root));
        }
        let current = || self.root.current(effort);
        let current = match current() {
            Err(error) if self.makes_room(error.errno) => current(),
            result => result,
        };
        let found = current.map_err(|error| match (effort, error.errno) {
            (Effort::Cached, Errno::AGAIN | Errno::INVAL) => Refusal::WouldWait,
            _ => self.root_refused(&error),
        })?;
        Ok(self.begin_in(found, search))
    }

    /// Has a search look its names up in a root that was found out, which may have just taken
    /// another's place.
    pub(super) fn begin_in(
        &self,
        (root, replaced): (Arc<Root>, bool),
        search: &mut Search,
    ) -> Arc<Root> {
        if replaced {
            // Files of the tree before: no name leads to them, and their disk space is wanted.
            self.cache.shed();
            self.mounts.reload(root.as_fd());
        }
        search.root = Some(Arc::clone(&root));
        root
    }

    pub(super) fn root_refused(&self, error: &RootError) -> Refusal {
        let name = self.root.name().as_os_str().as_bytes();
        Refusal::new(error.operation, name, error.errno)
    }

    /// The node that is aimed at, now that it is open and said what it is; `clock` was read before.
    pub(super) fn meet(
        &self,
        root: &Root,
        aim: &Aim<'_>,
        (fd, meta): (OwnedFd, Statx),
        clock: &Clock,
        effort: Effort,
        now: Instant,
    ) -> Result<Node, Refusal> {
        Ok(match file_type(&meta) {
            FileType::Directory => Node::Directory(fd),
            FileType::RegularFile if aim.purpose == Purpose::Read => {
                if effort == Effort::Cached && !self.options.stamps.is_empty() {
                    return Err(Refusal::WouldWait); // to be searched
                }
                let edits = self.options.stamps.places(fd.as_fd(), meta.stx_size);
                let edits = edits.map_err(|errno| Refusal::new("stamp", aim.path, errno))?;
                let stamped = edits.map(|edits| (edits, self.options.stamps.tag()));
                let Aim { path, coding, .. } = *aim;
                let description = Description {
                    path,
                    coding,
                    stamped,
                    etag: self.options.etag,
                    absolute: self.root.absolute(path),
                    since: root.since(),
                };
                let mut file = OpenFile::new(fd, &meta, description, clock);
                let number = makedev(meta.stx_dev_major, meta.stx_dev_minor);
                let device = self.mounts.device_of(number, path);
                file.lies_on(device, || self.closers.of(number));
                let file = Arc::new(file);
                if !file.is_racy() {
                    self.cache.keep(aim.path, &file, now);
                }
                Node::File(file)
            }
            _ => Node::Other,
        })
    }

    fn open_node(
        &self,
        root: &Root,
        aim: &Aim<'_>,
        effort: Effort,
    ) -> Result<(OwnedFd, Statx), Refusal> {
        let refuse = |operation, errno| Refusal::new(operation, aim.path, errno);
        let open = || root.open(aim.path, aim.purpose, effort);
        let fd = match open() {
            Err(errno) if self.makes_room(errno) => open(),
            result => result,
        };
        let fd = fd.map_err(|errno| match (effort, errno) {
            (Effort::Cached, Errno::AGAIN | Errno::INVAL) => Refusal::WouldWait,
            _ => refuse("openat2", errno),
        })?;
        let meta = stat_fd(fd.as_fd()).map_err(|errno| refuse("statx", errno))?;
        Ok((fd, meta))
    }

    /// Whether there was no descriptor and there is one now. The cache holds some that it can do
    /// without; a request cannot.
    pub(super) fn makes_room(&self, errno: Errno) -> bool {
        matches!(errno, Errno::MFILE | Errno::NFILE) && self.cache.shed()
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
