//! Detects that a copy would replace the file which its source is, or leads to.
//!
//! stat(2) of both names, followed, and readlinkat(2) along a chain of symbolic links. cp(1) says
//! "are the same file" of such a pair, for what is replaced is what was to be copied.
//!
//! # Limitations
//!
//! A link that is exchanged between this check and the copy is not noticed. Symbolic links in the
//! middle of a path are followed but not compared.

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use crate::error::Error;
use crate::links::{Identity, identity};
use crate::name::Name;

/// The most links that the kernel follows in one path: path_resolution(7).
const MOST_LINKS: usize = 40;

/// Returns an error if `there`, which has the name `to`, is the file that `from` is or leads to.
/// `original` is the source as it is to be copied: the link itself where it is copied as a link.
pub(crate) fn refuse(
    (original, from): (&Stat, Name<'_>),
    (there, to): (&Stat, Name<'_>),
) -> Result<(), Error> {
    let is_same = match (is_symlink(original), is_symlink(there)) {
        _ if identity(original) == identity(there) => true,
        (false, false) => false,
        (true, false) => followed(from) == Some(identity(there)),
        (false, true) => followed(to) == Some(identity(original)),
        // Two links may lead to one file, unless the one leads there through the other.
        (true, true) => followed(from) == followed(to) && leads_through(from, identity(there)),
    };
    if is_same { Err(Error::SameFile { from: from.path(), to: to.path() }) } else { Ok(()) }
}

fn is_symlink(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode).is_symlink()
}

/// The file behind a name; `None` where there is none.
fn followed(name: Name<'_>) -> Option<Identity> {
    let stat = statat(name.directory, name.name, AtFlags::empty()).ok()?;
    Some(identity(&stat))
}

/// Whether `link` is one of the links that lead from the name `from` to a file.
fn leads_through(from: Name<'_>, link: Identity) -> bool {
    let mut next = step(from.directory, from.name);
    for _ in 0..MOST_LINKS {
        let Some((directory, name)) = next else { return false };
        let Ok(points) = readlinkat(&directory, &name, Vec::new()) else { return false };
        next = step(directory.as_fd(), &points);
        let there = next.as_ref().map(|(directory, name)| {
            statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| identity(&stat))
        });
        if there == Some(Ok(link)) {
            return true;
        }
    }
    false
}

/// Opens the directory that a path leads to, and returns the last name of the path.
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
