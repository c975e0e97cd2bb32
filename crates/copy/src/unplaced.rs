//! A file that has no name yet: `O_TMPFILE` (open(2), Linux 3.11), and linkat(2) once it is whole.
//!
//! Where the final name is taken, linkat(2) cannot replace it: the whole file gets a temporary
//! name first and is renamed over it. Where the file system has no `O_TMPFILE` (NFS, FAT …), it is
//! written under a temporary name. A temporary name that was not used up is removed by `Drop`.
//!
//! In an append-only directory (`chattr +a`) names are added and never removed: a temporary name
//! would stay for ever, so none is made there.
//!
//! What it does badly: it costs two calls where creating the file in place costs one, on ext4 also
//! an entry in the list of orphans; it needs /proc, or Linux 6.10, or `CAP_DAC_READ_SEARCH`, to
//! give the name; and a program killed by SIGKILL leaves a temporary name behind where there is no
//! `O_TMPFILE`, or, with luck of the worst kind, between the two calls that replace.

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, RenameFlags, StatxAttributes, StatxFlags, linkat, openat, renameat,
    renameat_with, statx, unlinkat,
};
use rustix::io::{self, Errno};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;
use crate::name::Name;
use crate::options::Options;

/// Distinguishes the temporary names of this process.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// A file on its way to a name.
pub(crate) struct Unplaced<'a> {
    file: Arc<OwnedFd>,
    directory: BorrowedFd<'a>,
    temporary: Option<Temporary<'a>>,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    Here,
    /// There is something already, which is to stay.
    Taken,
}

impl Placed {
    /// Returns an error where something took the name meanwhile that was not to be there: neither
    /// may it be replaced nor, without `keep_existing`, left alone in silence.
    pub(crate) fn permitted(self, options: &Options, to: Name<'_>) -> Result<Self, Error> {
        match self {
            Self::Taken if !options.keep_existing => {
                Err(to.refused("was made meanwhile in a new directory, and is not replaced"))
            }
            placed => Ok(placed),
        }
    }

    /// Adds one to the counter of what was placed, or of what was left alone.
    pub(crate) fn count(self, here: &mut u64, taken: &mut u64) {
        match self {
            Self::Here => *here += 1,
            Self::Taken => *taken += 1,
        }
    }
}

impl<'a> Unplaced<'a> {
    /// A new empty file in the directory of `to`, to be written.
    pub(crate) fn create(to: Name<'a>, mode: Mode) -> Result<Self, Error> {
        let directory = to.directory;
        let access = OFlags::WRONLY | OFlags::CLOEXEC;
        let (file, temporary) = match openat(directory, c".", access | OFlags::TMPFILE, mode) {
            Ok(file) => (file, None),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) => {
                let create = access | OFlags::CREATE | OFlags::EXCL;
                let made = Temporary::make(to, |name| openat(directory, name, create, mode))?;
                let (temporary, file) = made.map_err(to.failed("openat"))?;
                (file, Some(temporary))
            }
            Err(errno) => return Err(to.failed("openat")(errno)),
        };
        Ok(Self { file: Arc::new(file), directory, temporary })
    }

    /// The file itself.
    pub(crate) fn file(&self) -> &Arc<OwnedFd> {
        &self.file
    }

    /// Gives it the name `to`, in one step for whoever looks.
    pub(crate) fn place(self, to: Name<'_>, keep_existing: bool) -> Result<Placed, Error> {
        if let Some(temporary) = self.temporary {
            return temporary.rename(to, keep_existing);
        }
        match self.link(to.name) {
            Ok(()) => Ok(Placed::Here),
            Err(Errno::EXIST) if keep_existing => Ok(Placed::Taken),
            Err(Errno::EXIST) => {
                let linked = Temporary::make(to, |name| self.link(name))?;
                linked.map_err(to.failed("linkat"))?.0.rename(to, false)
            }
            Err(errno) => Err(to.failed("linkat")(errno)),
        }
    }

    fn link(&self, name: &CStr) -> io::Result<()> {
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        match linkat(CWD, path, self.directory, name, AtFlags::SYMLINK_FOLLOW) {
            // No /proc. Without the right to it this says the same.
            Err(Errno::NOENT) => {
                linkat(self.file.as_fd(), c"", self.directory, name, AtFlags::EMPTY_PATH)
            }
            linked => linked,
        }
    }
}

/// A name that nobody else knows, removed unless it is used up.
pub(crate) struct Temporary<'a> {
    directory: BorrowedFd<'a>,
    name: CString,
}

impl<'a> Temporary<'a> {
    /// Has something made under a new name in the directory of `to`; the inner error is that of
    /// `make`. In an append-only directory nothing is made.
    pub(crate) fn make<T>(
        to: Name<'a>,
        make: impl Fn(&CStr) -> io::Result<T>,
    ) -> Result<io::Result<(Self, T)>, Error> {
        let directory = to.directory;
        if is_append_only(directory) {
            return Err(to.refused(
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
                // Left behind by another process that had this number.
                Err(Errno::EXIST) => {}
                Err(errno) => return Ok(Err(errno)),
            }
        }
    }

    pub(crate) fn name(&self) -> &CStr {
        &self.name
    }

    /// Renames it to `to`, over what is there unless that is to stay.
    pub(crate) fn rename(self, to: Name<'_>, keep_existing: bool) -> Result<Placed, Error> {
        let (from, into) = (self.directory, to.directory);
        let renamed = if keep_existing {
            match renameat_with(from, &self.name, into, to.name, RenameFlags::NOREPLACE) {
                // A file system without such a thing; a link does not replace either.
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                    let linked = linkat(from, &self.name, into, to.name, AtFlags::empty());
                    return taken(linked, to, "linkat");
                }
                renamed => renamed,
            }
        } else {
            renameat(from, &self.name, into, to.name)
        };
        taken(renamed, to, "renameat2")
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        // After a rename it is gone, unless both were links to one file: rename(2) leaves them.
        let _gone = unlinkat(self.directory, &self.name, AtFlags::empty());
    }
}

/// Whether names can be added to a directory but not removed from it: chattr(1), Linux 4.11. A
/// file system that does not say so is taken for one without such directories.
pub(crate) fn is_append_only(directory: BorrowedFd<'_>) -> bool {
    statx(directory, c"", AtFlags::EMPTY_PATH, StatxFlags::TYPE)
        .is_ok_and(|statx| statx.stx_attributes.contains(StatxAttributes::APPEND))
}

fn taken(outcome: io::Result<()>, to: Name<'_>, call: &'static str) -> Result<Placed, Error> {
    match outcome {
        Ok(()) => Ok(Placed::Here),
        Err(Errno::EXIST) => Ok(Placed::Taken),
        Err(errno) => Err(to.failed(call)(errno)),
    }
}
