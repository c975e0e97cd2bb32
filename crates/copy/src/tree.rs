//! Walks a tree: each directory is opened and made before its entries, and finished after them.
//!
//! openat(2) with `O_NOFOLLOW` from directory to directory, so that a name which another process
//! replaces by a link is not followed out of the tree. getdents64(2), mkdirat(2).
//!
//! # Limitations
//!
//! Each level holds two descriptors, so the limit on open files (getrlimit(2)) limits the depth. The
//! names of each directory on the path are held in memory. A new directory that the umask makes
//! unreadable for its owner needs /proc.

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RawDir, Stat, chmodat, fchmod, fstat, mkdirat, openat,
    statat,
};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;

use crate::attributes::{ALL, PERMISSIONS};
use crate::directory::Directory;
use crate::error::Error;
use crate::hard_links::identity;
use crate::name::Name;
use crate::workers::Workers;

/// The owner's bits of a mode.
const OWNER: u32 = 0o700;

/// The flags by which directories are opened.
pub(crate) const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Bytes of entries that one getdents64(2) returns.
const LIST_BUFFER: usize = 32 << 10;

/// A directory on the path, and its entries that are not copied yet.
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

/// A walk through a tree.
pub(crate) struct Walk {
    /// The directory that the tree is copied to.
    top: Stat,
    levels: Vec<Level>,
}

impl Walk {
    /// Begins with the entries of `root`.
    pub(crate) fn new(root: Directory, workers: &mut Workers<'_>) -> Result<Self, Error> {
        let top = fstat(&root.to).map_err(Error::of("fstat", &root.to_path))?;
        workers.summary.directories += 1;
        if root.is_new && workers.context.options.sync {
            root.sync_parent(workers.context, &mut workers.summary);
        }
        Ok(Self { top, levels: vec![Level::of(root)?] })
    }

    /// Copies an entry, or ends a directory; returns whether there was one.
    pub(crate) fn step(&mut self, workers: &mut Workers<'_>) -> bool {
        let Some(level) = self.levels.last_mut() else { return false };
        let stopped = workers.context.observer.should_stop();
        match level.entries.pop().filter(|_| !stopped) {
            None => {
                if let Some(level) = self.levels.pop() {
                    workers.release(level.directory);
                }
            }
            Some((name, kind)) => match visit(&level.directory, name, kind, &self.top, workers) {
                Ok(None) => {}
                Ok(Some(below)) => self.levels.push(below),
                Err(error) => workers.record(Err(error)),
            },
        }
        true
    }
}

/// Copies an entry; a directory is opened and returned.
fn visit(
    directory: &Arc<Directory>,
    name: CString,
    kind: FileType,
    top: &Stat,
    workers: &mut Workers<'_>,
) -> Result<Option<Level>, Error> {
    let kind = if kind == FileType::Unknown { file_type(directory.source(&name))? } else { kind };
    if !kind.is_dir() {
        workers.copy_entry(directory, name.clone(), name, kind);
        return Ok(None);
    }
    let (from, to) = (directory.source(&name), directory.sink(&name));
    let below = openat(from.directory, from.name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty());
    let below = below.map_err(from.failed("openat"))?;
    let original = fstat(&below).map_err(from.failed("fstat"))?;
    if identity(&original) == identity(top) {
        return Err(from.invalid("is the directory that the copy is written to"));
    }
    let made = make(to, &original)?;
    if directory.is_new && !made.is_new && !workers.context.options.keep_existing {
        return Err(
            to.invalid("was made by another process in a new directory, and is not merged into")
        );
    }
    workers.summary.directories += 1;
    Level::of(Directory {
        from: Some(below),
        from_path: from.path(),
        to: made.directory,
        to_path: to.path(),
        is_new: made.is_new,
        temporary_mode: made.temporary_mode,
        original: Some(original),
    })
    .map(Some)
}

fn file_type(from: Name<'_>) -> Result<FileType, Error> {
    let stat = statat(from.directory, from.name, AtFlags::SYMLINK_NOFOLLOW);
    Ok(FileType::from_raw_mode(stat.map_err(from.failed("newfstatat"))?.st_mode))
}

/// A directory that is open for new entries.
pub(crate) struct Made {
    pub(crate) directory: OwnedFd,
    pub(crate) is_new: bool,
    /// As in [`Directory`].
    pub(crate) temporary_mode: u32,
}

/// Makes a directory, or opens the existing one.
///
/// A new directory gets `u+rwx`, also where the original or the umask has not: entries have to be
/// made in it. `Directory::release` removes the additional bits.
pub(crate) fn make(to: Name<'_>, original: &Stat) -> Result<Made, Error> {
    let mode = Mode::from_raw_mode(original.st_mode & PERMISSIONS | OWNER);
    let is_new = match mkdirat(to.directory, to.name, mode) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(errno) => return Err(to.failed("mkdirat")(errno)),
    };
    let opened = openat(to.directory, to.name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty());
    let directory = match opened {
        Ok(opened) => opened,
        Err(Errno::ACCESS) if is_new => return open_unreadable(to, original),
        Err(Errno::NOTDIR | Errno::LOOP) => {
            return Err(to.invalid("is not a directory, and is not replaced by one"));
        }
        Err(errno) => return Err(to.failed("openat")(errno)),
    };
    let mut temporary_mode = 0;
    if is_new {
        let made = fstat(&directory).map_err(to.failed("fstat"))?.st_mode & ALL;
        if made & OWNER != OWNER {
            let mode = Mode::from_raw_mode(made | OWNER);
            fchmod(&directory, mode).map_err(to.failed("fchmod"))?;
        }
        temporary_mode = OWNER & !(made & original.st_mode);
    }
    Ok(Made { directory, is_new, temporary_mode })
}

/// Opens a new directory that the umask made unreadable for its owner.
fn open_unreadable(to: Name<'_>, original: &Stat) -> Result<Made, Error> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened =
        openat(to.directory, to.name, flags, Mode::empty()).map_err(to.failed("openat"))?;
    let made = fstat(&opened).map_err(to.failed("fstat"))?.st_mode & ALL;
    // fchmod(2) does not accept an `O_PATH` descriptor. By its name a link could be followed.
    let path = format!("/proc/self/fd/{}", opened.as_raw_fd());
    chmodat(CWD, path, Mode::from_raw_mode(made | OWNER), AtFlags::empty())
        .map_err(to.failed("fchmodat"))?;
    let directory = openat(&opened, c".", DIRECTORY, Mode::empty()).map_err(to.failed("openat"))?;
    let temporary_mode = OWNER & !(made & original.st_mode);
    Ok(Made { directory, is_new: true, temporary_mode })
}

/// Lists the source, which is open for that: its file position is used by nothing else.
fn entries(directory: &Directory) -> Result<Vec<(CString, FileType)>, Error> {
    let path = &directory.from_path;
    let mut buffer = [MaybeUninit::uninit(); LIST_BUFFER];
    let mut listed = RawDir::new(directory.from(), &mut buffer);
    let mut entries = Vec::new();
    while let Some(entry) = listed.next() {
        let entry = match entry {
            Err(Errno::NOENT) => break, // removed meanwhile
            entry => entry.map_err(Error::of("getdents64", path))?,
        };
        let name: &CStr = entry.file_name();
        if name != c"." && name != c".." {
            entries.push((name.to_owned(), entry.file_type()));
        }
    }
    Ok(entries)
}
