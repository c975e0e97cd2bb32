//! A tree: every directory is opened and made before what is in it, and finished after.
//!
//! openat(2) with `O_NOFOLLOW` from directory to directory: a name that somebody exchanges for a
//! link meanwhile leads nowhere else. getdents64(2), mkdirat(2).
//!
//! What it does badly: each level holds two descriptors, so the limit on open files (getrlimit(2))
//! is one on depth; and the names of each directory on the way are in memory.

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, mkdirat, openat, statat};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::attributes::PERMISSIONS;
use crate::crew::Crew;
use crate::directory::Directory;
use crate::error::Error;
use crate::links::identity;
use crate::name::Name;

/// How directories are opened.
pub(crate) const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A directory on the way down, and what of it is still to be done.
struct Level {
    directory: Arc<Directory>,
    entries: Vec<(CString, FileType)>,
}

impl Level {
    fn of(directory: Directory) -> Result<Self, Error> {
        let entries = entries(&directory)?;
        Ok(Self { directory: Arc::new(directory), entries })
    }
}

/// Copies what is in `root`, and all below it.
pub(crate) fn walk(root: Directory, crew: &mut Crew<'_>) -> Result<(), Error> {
    let top = fstat(&root.to).map_err(Error::of("fstat", &root.to_path))?;
    crew.account.directories += 1;
    if root.is_new && crew.run.options.sync {
        crew.run.sync_parent(&root, &mut crew.account);
    }
    let mut levels = vec![Level::of(root)?];
    while let Some(level) = levels.last_mut() {
        let stopped = crew.run.observer.stops();
        match level.entries.pop().filter(|_| !stopped) {
            None => {
                if let Some(level) = levels.pop() {
                    crew.leave(level.directory);
                }
            }
            Some((name, kind)) => match visit(&level.directory, name, kind, &top, crew) {
                Ok(None) => {}
                Ok(Some(below)) => levels.push(below),
                Err(error) => crew.settle(Err(error)),
            },
        }
    }
    Ok(())
}

/// Copies an entry, or opens the directory that it is.
fn visit(
    directory: &Arc<Directory>,
    name: CString,
    kind: FileType,
    top: &Stat,
    crew: &mut Crew<'_>,
) -> Result<Option<Level>, Error> {
    let kind = if kind == FileType::Unknown { look(directory.source(&name))? } else { kind };
    if !kind.is_dir() {
        crew.entry(directory, name.clone(), name, kind);
        return Ok(None);
    }
    let (from, to) = (directory.source(&name), directory.sink(&name));
    let below = openat(from.directory, from.name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty());
    let below = below.map_err(from.failed("openat"))?;
    let original = fstat(&below).map_err(from.failed("fstat"))?;
    if identity(&original) == identity(top) {
        return Err(from.refused("is where the copy goes"));
    }
    let (sink, is_new) = make(to, &original)?;
    if directory.is_new && !is_new && !crew.run.options.keep_existing {
        return Err(to.refused("was made meanwhile in a new directory, and is not merged into"));
    }
    crew.account.directories += 1;
    Level::of(Directory {
        from: Some(below),
        from_path: from.path(),
        to: sink,
        to_path: to.path(),
        is_new,
        original: Some(original),
    })
    .map(Some)
}

fn look(from: Name<'_>) -> Result<FileType, Error> {
    let stat = statat(from.directory, from.name, AtFlags::SYMLINK_NOFOLLOW);
    Ok(FileType::from_raw_mode(stat.map_err(from.failed("newfstatat"))?.st_mode))
}

/// Makes a directory, or opens the one that is there; true if it was made.
pub(crate) fn make(to: Name<'_>, original: &Stat) -> Result<(OwnedFd, bool), Error> {
    // We have to get in, whatever the original says; `Directory::leave` puts it right.
    let mode = Mode::from_raw_mode(original.st_mode & PERMISSIONS | 0o700);
    let is_new = match mkdirat(to.directory, to.name, mode) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(errno) => return Err(to.failed("mkdirat")(errno)),
    };
    let opened = openat(to.directory, to.name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty());
    match opened {
        Ok(opened) => Ok((opened, is_new)),
        Err(Errno::NOTDIR | Errno::LOOP) => {
            Err(to.refused("is no directory, and is not replaced by one"))
        }
        Err(errno) => Err(to.failed("openat")(errno)),
    }
}

/// What is in the source.
fn entries(directory: &Directory) -> Result<Vec<(CString, FileType)>, Error> {
    let path = &directory.from_path;
    let listed = Dir::read_from(directory.from()).map_err(Error::of("openat", path))?;
    let mut entries = Vec::new();
    for entry in listed {
        let entry = entry.map_err(Error::of("getdents64", path))?;
        let name: &CStr = entry.file_name();
        if name != c"." && name != c".." {
            entries.push((name.to_owned(), entry.file_type()));
        }
    }
    Ok(entries)
}
