//! Detects a copy that would replace its own source, directly or through symbolic links.
//!
//! stat(2) of both names, and readlinkat(2) along a chain of symbolic links. cp(1) rejects such a
//! pair with "are the same file".
//!
//! # Limitations
//!
//! A link that is replaced between this check and the copy is not detected. Symbolic links in the
//! middle of a path are followed but not compared.

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use crate::error::Error;
use crate::hard_links::{Identity, identity};
use crate::name::Name;

/// Maximum number of links that the kernel follows in one path: path_resolution(7).
const MOST_LINKS: usize = 40;

/// Returns an error if `there`, which has the name `to`, is the file `from` or the target of the link
/// `from`. `original` is the file to copy: the link itself if it is copied as a link.
pub(crate) fn refuse(
    (original, from): (&Stat, Name<'_>),
    (there, to): (&Stat, Name<'_>),
) -> Result<(), Error> {
    let is_same = match (is_symlink(original), is_symlink(there)) {
        _ if identity(original) == identity(there) => true,
        (false, false) => false,
        (true, false) => followed(from) == Some(identity(there)),
        (false, true) => followed(to) == Some(identity(original)),
        // Two links may lead to one file, unless one leads there through the other.
        (true, true) => followed(from) == followed(to) && leads_through(from, identity(there)),
    };
    if is_same { Err(Error::SameFile { from: from.path(), to: to.path() }) } else { Ok(()) }
}

fn is_symlink(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode).is_symlink()
}

/// Returns the identity of the file that a name leads to.
fn followed(name: Name<'_>) -> Option<Identity> {
    let stat = statat(name.directory, name.name, AtFlags::empty()).ok()?;
    Some(identity(&stat))
}

/// Returns whether `link` is in the chain of links from the name `from`.
fn leads_through(from: Name<'_>, link: Identity) -> bool {
    let mut next = step(from.directory, from.name);
    for _ in 0..MOST_LINKS {
        let Some((directory, name)) = next else { return false };
        let Ok(target) = readlinkat(&directory, &name, Vec::new()) else { return false };
        next = step(directory.as_fd(), &target);
        let there = next.as_ref().map(|(directory, name)| {
            statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| identity(&stat))
        });
        if there == Some(Ok(link)) {
            return true;
        }
    }
    false
}

/// Opens the parent directory of a path, and returns the last name of the path.
fn step(directory: BorrowedFd<'_>, path: &CStr) -> Option<(OwnedFd, CString)> {
    let path = path.to_bytes();
    let trimmed = path.iter().rposition(|&byte| byte != b'/').map(|last| &path[..=last])?;
    let slash = trimmed.iter().rposition(|&byte| byte == b'/');
    let (parent, name) = match slash {
        Some(at) => (&trimmed[..=at], &trimmed[at + 1..]),
        None => (&b"."[..], trimmed),
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = openat(directory, parent, flags, Mode::empty()).ok()?;
    Some((opened, CString::new(name).ok()?))
}
