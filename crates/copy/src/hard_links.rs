//! Preserves hard links: the second name of a copied file becomes a link to its copy. Symbolic
//! links, FIFOs, sockets and devices may have several names, too.
//!
//! linkat(2), and a table of the copies by the device and inode of the original.
//!
//! # Limitations
//!
//! Files with several names are copied one after another, because the second name waits for the
//! first; and the copy is opened again by its path.

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat, linkat, openat, statat};
use rustix::io::{self, Errno};
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::atomic_file::{Commit, Temporary};
use crate::error::Error;
use crate::name::Name;

/// Maximum length of a path that is given to one call, less than `PATH_MAX`.
const PATH_AT_ONCE: usize = 2048;

/// Device and inode.
pub(crate) type Identity = (u64, u64);

/// The path and the identity of each copy, by the identity of its original.
#[derive(Debug, Default)]
pub(crate) struct HardLinks {
    copies: HashMap<Identity, (PathBuf, Identity)>,
}

/// Returns the identity of a file.
#[expect(clippy::useless_conversion, reason = "the fields of stat differ between architectures")]
pub(crate) fn identity(stat: &Stat) -> Identity {
    (stat.st_dev.into(), stat.st_ino.into())
}

impl HardLinks {
    /// Makes `to` a link to the copy of this file; returns `None` if there is none, or if it cannot be
    /// linked to.
    pub(crate) fn link(
        &self,
        original: &Stat,
        to: Name<'_>,
        keep_existing: bool,
    ) -> Result<Option<Commit>, Error> {
        let Some((path, copy)) = self.copies.get(&identity(original)) else {
            return Ok(None);
        };
        let Ok((directory, name)) = open_parent(path) else { return Ok(None) };
        let there = statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW);
        if !there.is_ok_and(|there| identity(&there) == *copy) {
            return Ok(None);
        }
        let link =
            |to_name: &CStr| linkat(&directory, &name, to.directory, to_name, AtFlags::empty());
        match link(to.name) {
            Ok(()) => Ok(Some(Commit::Committed)),
            Err(Errno::EXIST) if keep_existing => Ok(Some(Commit::Exists)),
            Err(Errno::EXIST) => match Temporary::make(to, link)? {
                Ok((temporary, ())) => temporary.rename(to, false).map(Some),
                Err(_) => Ok(None),
            },
            // Another file system, or too many links: it becomes a separate copy.
            Err(_) => Ok(None),
        }
    }

    /// Returns whether `there` is the copy of this file.
    pub(crate) fn is_copy(&self, original: &Stat, there: &Stat) -> bool {
        self.copies.get(&identity(original)).is_some_and(|(_, copy)| *copy == identity(there))
    }

    /// Adds a copy that has the name `to`.
    pub(crate) fn remember(&mut self, original: &Stat, copy: Identity, to: Name<'_>) {
        self.copies.insert(identity(original), (to.path(), copy));
    }
}

/// Opens the parent directory of a path of any length, and returns the last name of the path. Paths
/// in trees may be longer than one call accepts (`PATH_MAX`).
fn open_parent(path: &Path) -> io::Result<(OwnedFd, CString)> {
    let name = path.file_name().ok_or(Errno::INVAL)?;
    let name = CString::new(name.as_bytes()).map_err(|_| Errno::INVAL)?;
    let mut here = open_below(CWD, Path::new("."))?;
    let mut piece = PathBuf::new();
    for component in path.parent().into_iter().flat_map(Path::components) {
        if piece.as_os_str().len() + component.as_os_str().len() > PATH_AT_ONCE {
            here = open_below(here.as_fd(), &piece)?;
            piece.clear();
        }
        piece.push(component);
    }
    if !piece.as_os_str().is_empty() {
        here = open_below(here.as_fd(), &piece)?;
    }
    Ok((here, name))
}

fn open_below(directory: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(directory, path, flags, Mode::empty())
}
