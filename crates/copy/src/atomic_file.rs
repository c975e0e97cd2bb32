//! Atomic files: an unnamed file (`O_TMPFILE`, open(2), Linux 3.11) that linkat(2) names when it is
//! complete.
//!
//! linkat(2) cannot replace an existing file: there the complete file gets a temporary name and is
//! renamed. Where the file system has no `O_TMPFILE` (NFS, FAT …), the file is written under a
//! temporary name. `Drop` removes an unused temporary name.
//!
//! In an append-only directory (`chattr +a`) names can be added and not removed, so that a temporary
//! name would stay for ever; none is made there.
//!
//! # Limitations
//!
//! It costs two calls instead of one, on ext4 also an entry in the orphan list. linkat(2) needs
//! /proc, or Linux 6.10, or `CAP_DAC_READ_SEARCH`. SIGKILL leaves a temporary name behind where there
//! is no `O_TMPFILE`, or between the two calls that replace a file.

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, RenameFlags, StatxAttributes, StatxFlags, linkat, openat, renameat,
    renameat_with, statx, unlinkat,
};
use rustix::io::{self, Errno};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::Error;
use crate::name::Name;
use crate::options::Options;

/// Distinguishes the temporary names of this process.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// The kernel does not let this process name a file by its descriptor alone.
static NEEDS_PROC: AtomicBool = AtomicBool::new(false);

/// The mode that a file is made with.
#[derive(Clone, Copy)]
pub(crate) struct NewMode {
    /// Where it has no name, so that no other user can open it before it has its attributes.
    pub(crate) unnamed: Mode,
    /// Where it has a temporary name.
    pub(crate) named: Mode,
}

impl From<Mode> for NewMode {
    fn from(mode: Mode) -> Self {
        Self { unnamed: mode, named: mode }
    }
}

/// A file that is being written and has no final name yet.
pub(crate) struct PendingFile<'a> {
    file: Arc<OwnedFd>,
    directory: BorrowedFd<'a>,
    temporary: Option<Temporary<'a>>,
}

/// The result of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commit {
    /// The file has its name.
    Committed,
    /// Another file has the name, and was not replaced.
    Exists,
}

impl Commit {
    /// Returns an error if another process made the name in a new directory: the file is not replaced,
    /// and without `keep_existing` it is not skipped silently.
    pub(crate) fn permitted(self, options: &Options, to: Name<'_>) -> Result<Self, Error> {
        match self {
            Self::Exists if !options.keep_existing => {
                Err(to
                    .invalid("was made by another process in a new directory, and is not replaced"))
            }
            commit => Ok(commit),
        }
    }

    /// Increments one of two counters.
    pub(crate) fn count(self, committed: &mut u64, skipped: &mut u64) {
        match self {
            Self::Committed => *committed += 1,
            Self::Exists => *skipped += 1,
        }
    }
}

impl<'a> PendingFile<'a> {
    /// Makes a new empty file in the directory of `to`.
    pub(crate) fn create(to: Name<'a>, mode: NewMode) -> Result<Self, Error> {
        let directory = to.directory;
        let access = OFlags::WRONLY | OFlags::CLOEXEC;
        let unnamed = openat(directory, c".", access | OFlags::TMPFILE, mode.unnamed);
        let (file, temporary) = match unnamed {
            Ok(file) => (file, None),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) => {
                let create = access | OFlags::CREATE | OFlags::EXCL;
                let made = Temporary::make(to, |name| openat(directory, name, create, mode.named))?;
                let (temporary, file) = made.map_err(to.failed("openat"))?;
                (file, Some(temporary))
            }
            Err(errno) => return Err(to.failed("openat")(errno)),
        };
        Ok(Self { file: Arc::new(file), directory, temporary })
    }

    /// Returns the open file.
    pub(crate) fn file(&self) -> &Arc<OwnedFd> {
        &self.file
    }

    /// Gives the file the name `to`, atomically.
    pub(crate) fn commit(self, to: Name<'_>, keep_existing: bool) -> Result<Commit, Error> {
        if let Some(temporary) = self.temporary {
            return temporary.rename(to, keep_existing);
        }
        match self.link(to.name) {
            Ok(()) => Ok(Commit::Committed),
            Err(Errno::EXIST) if keep_existing => Ok(Commit::Exists),
            Err(Errno::EXIST) => {
                let linked = Temporary::make(to, |name| self.link(name))?;
                linked.map_err(to.failed("linkat"))?.0.rename(to, false)
            }
            Err(errno) => Err(to.failed("linkat")(errno)),
        }
    }

    fn link(&self, name: &CStr) -> io::Result<()> {
        if !NEEDS_PROC.load(Ordering::Relaxed) {
            match linkat(self.file.as_fd(), c"", self.directory, name, AtFlags::EMPTY_PATH) {
                // An old kernel, and no capability; or the directory is gone.
                Err(Errno::NOENT) => {}
                linked => return linked,
            }
        }
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let linked = linkat(CWD, path, self.directory, name, AtFlags::SYMLINK_FOLLOW);
        if linked.is_ok() {
            NEEDS_PROC.store(true, Ordering::Relaxed);
        }
        linked
    }
}

/// A temporary name, removed on drop.
pub(crate) struct Temporary<'a> {
    directory: BorrowedFd<'a>,
    name: CString,
}

impl<'a> Temporary<'a> {
    /// Calls `make` with an unused name in the directory of `to`; the inner error is that of `make`.
    /// Fails in an append-only directory.
    pub(crate) fn make<T>(
        to: Name<'a>,
        make: impl Fn(&CStr) -> io::Result<T>,
    ) -> Result<io::Result<(Self, T)>, Error> {
        let directory = to.directory;
        if is_append_only(directory) {
            return Err(to.invalid(
                "cannot be replaced, nor be written under a temporary name: its directory is \
                 append-only",
            ));
        }
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!(".karez.{}.{count}", std::process::id());
            let Ok(name) = CString::new(name) else { return Ok(Err(Errno::INVAL)) };
            match make(&name) {
                Ok(made) => return Ok(Ok((Self { directory, name }, made))),
                // Left behind by an earlier process with the same id.
                Err(Errno::EXIST) => {}
                Err(errno) => return Ok(Err(errno)),
            }
        }
    }

    pub(crate) fn name(&self) -> &CStr {
        &self.name
    }

    /// Renames it to `to`, replacing an existing file unless `keep_existing`.
    pub(crate) fn rename(self, to: Name<'_>, keep_existing: bool) -> Result<Commit, Error> {
        let (from, into) = (self.directory, to.directory);
        let renamed = if keep_existing {
            match renameat_with(from, &self.name, into, to.name, RenameFlags::NOREPLACE) {
                // The file system does not support it; linkat(2) does not replace either.
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                    let linked = linkat(from, &self.name, into, to.name, AtFlags::empty());
                    return commit(linked, to, "linkat");
                }
                renamed => renamed,
            }
        } else {
            renameat(from, &self.name, into, to.name)
        };
        commit(renamed, to, "renameat2")
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        // After a rename the name is gone, unless both were links to one file, which rename(2) keeps.
        let _gone = unlinkat(self.directory, &self.name, AtFlags::empty());
    }
}

/// Returns whether names can be added to a directory but not removed (chattr(1), Linux 4.11); false
/// if the file system does not report it.
pub(crate) fn is_append_only(directory: BorrowedFd<'_>) -> bool {
    statx(directory, c"", AtFlags::EMPTY_PATH, StatxFlags::TYPE)
        .is_ok_and(|statx| statx.stx_attributes.contains(StatxAttributes::APPEND))
}

fn commit(outcome: io::Result<()>, to: Name<'_>, call: &'static str) -> Result<Commit, Error> {
    match outcome {
        Ok(()) => Ok(Commit::Committed),
        Err(Errno::EXIST) => Ok(Commit::Exists),
        Err(errno) => Err(to.failed(call)(errno)),
    }
}
