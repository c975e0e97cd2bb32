//! Files with several names: the second name of one that was copied becomes a link to the copy.
//! Symbolic links, FIFOs, sockets and devices may have several names, too.
//!
//! linkat(2), and a table of what was copied, by device and inode.
//!
//! # Limitations
//!
//! Files with several names are copied one after another, for the second name has to wait until
//! the first is in place; and the copy is found again by its path.

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat, linkat, openat, statat};
use rustix::io::{self, Errno};
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::name::Name;
use crate::unplaced::{Placed, Temporary};

/// The most bytes of a path that are given to one call, less than `PATH_MAX`.
const PATH_AT_ONCE: usize = 2048;

/// Device and inode.
pub(crate) type Identity = (u64, u64);

/// What was copied: the copy's path and identity by the original's identity.
#[derive(Debug, Default)]
pub(crate) struct Links {
    copies: HashMap<Identity, (PathBuf, Identity)>,
}

/// Which file it is.
#[expect(clippy::useless_conversion, reason = "the fields of stat differ between architectures")]
pub(crate) fn identity(stat: &Stat) -> Identity {
    (stat.st_dev.into(), stat.st_ino.into())
}

impl Links {
    /// Makes `to` a link to the copy of this file, if there is one that can be linked to.
    pub(crate) fn link(
        &self,
        original: &Stat,
        to: Name<'_>,
        keep_existing: bool,
    ) -> Result<Option<Placed>, Error> {
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
            Ok(()) => Ok(Some(Placed::Here)),
            Err(Errno::EXIST) if keep_existing => Ok(Some(Placed::Taken)),
            Err(Errno::EXIST) => match Temporary::make(to, link)? {
                Ok((temporary, ())) => temporary.rename(to, false).map(Some),
                Err(_) => Ok(None),
            },
            // Another file system, or too many links: a copy of its own.
            Err(_) => Ok(None),
        }
    }

    /// Whether `there` is the copy of this file.
    pub(crate) fn is_copy(&self, original: &Stat, there: &Stat) -> bool {
        self.copies.get(&identity(original)).is_some_and(|(_, copy)| *copy == identity(there))
    }

    /// Remembers a copy that has the name `to`.
    pub(crate) fn remember(&mut self, original: &Stat, copy: Identity, to: Name<'_>) {
        self.copies.insert(identity(original), (to.path(), copy));
    }
}

/// Opens the directory that a path of any length leads to, and returns the last name of the path.
/// In trees paths become longer than one call takes (`PATH_MAX`).
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
