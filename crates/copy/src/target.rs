//! Resolves a source and a target to an entry of an open directory, by the rules of cp(1).

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, lstat, open, openat, stat};
use rustix::io::Errno;
use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::directory::Directory;
use crate::error::Error;
use crate::hard_links::identity;
use crate::name::{Name, has_no_name, name_within};
use crate::options::Options;
use crate::tree::{self, DIRECTORY, Made};

/// A source and its destination.
pub(crate) enum Found {
    /// A file that is not a directory.
    Entry { parents: Directory, from: CString, to: CString, kind: FileType },
    /// A directory, open on both sides.
    Tree(Directory),
}

/// Resolves the names. With `several` sources the target has to be a directory.
pub(crate) fn find(
    source: &Path,
    target: &Path,
    several: bool,
    options: &Options,
) -> Result<Found, Error> {
    let itself = has_no_name(source);
    // "a/" is the target of a link, "a/." the content of the directory.
    let ends_with_slash = source.as_os_str().as_bytes().ends_with(b"/");
    let follows = !options.enters_directories() || itself || ends_with_slash;
    let (call, looked) = if follows { ("stat", stat(source)) } else { ("lstat", lstat(source)) };
    let original = looked.map_err(Error::of(call, source))?;
    let kind = FileType::from_raw_mode(original.st_mode);
    if kind.is_dir() && !options.enters_directories() {
        return Err(Error::invalid(source, "is a directory; directories are copied with -r only"));
    }
    if !kind.is_dir() && !kind.is_file() && !options.enters_directories() {
        return Err(Error::invalid(
            source,
            "is not a regular file; special files are copied with -r only",
        ));
    }
    let to = within(source, target, several)?;
    if kind.is_dir() && itself && is_directory(target)? {
        let sink = open(&to, DIRECTORY, Mode::empty()).map_err(Error::of("open", &to))?;
        is_not_within(&sink, &original, source)?;
        let made = Made { directory: sink, is_new: false, temporary_mode: 0 };
        opened(source, original, made, to).map(Found::Tree)
    } else if kind.is_dir() {
        directory(source, original, to).map(Found::Tree)
    } else {
        entry(source, kind, &to)
    }
}

/// Returns the path of the copy: `target`, or a name in it.
pub(crate) fn within(source: &Path, target: &Path, several: bool) -> Result<PathBuf, Error> {
    match is_directory(target)? {
        true => Ok(name_within(source, target)),
        false if several => {
            Err(Error::invalid(target, "is not a directory, and there are several sources"))
        }
        false => Ok(target.to_owned()),
    }
}

fn is_directory(path: &Path) -> Result<bool, Error> {
    match stat(path) {
        Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode).is_dir()),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(Error::of("stat", path)(errno)),
    }
}

/// Opens the parent of a file that is not a directory.
fn entry(source: &Path, kind: FileType, to: &Path) -> Result<Found, Error> {
    let (parents, to) = if kind.is_file() { place(to)? } else { named(to)? };
    Ok(Found::Entry { parents, from: c_string(source)?, to, kind })
}

/// Returns the directory and the name of a new regular file `to`.
pub(crate) fn place(to: &Path) -> Result<(Directory, CString), Error> {
    named(&followed(to)?)
}

fn named(to: &Path) -> Result<(Directory, CString), Error> {
    if to.as_os_str().as_bytes().ends_with(b"/") {
        return Err(Error::invalid(to, "is not a directory"));
    }
    let (parent, parent_path, name) = parent(to)?;
    let parents = Directory {
        from: None,
        from_path: PathBuf::new(),
        to: parent,
        to_path: parent_path,
        is_new: false,
        temporary_mode: 0,
        original: None,
    };
    Ok((parents, name))
}

/// Follows a link at `to`: as with cp(1), its target is replaced.
fn followed(to: &Path) -> Result<PathBuf, Error> {
    match lstat(to) {
        Ok(there) if FileType::from_raw_mode(there.st_mode).is_symlink() => {
            fs::canonicalize(to).map_err(|_| Error::invalid(to, "is a dangling symbolic link"))
        }
        _ => Ok(to.to_owned()),
    }
}

/// Opens or makes the copy `to` of a directory. As in a tree, a link at `to` is not followed.
fn directory(source: &Path, original: Stat, to: PathBuf) -> Result<Directory, Error> {
    let (parent, path, name) = parent(&to)?;
    let sink = match openat(&parent, &name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
        Ok(sink) => {
            is_not_within(&sink, &original, source)?;
            Made { directory: sink, is_new: false, temporary_mode: 0 }
        }
        Err(_) => {
            is_not_within(&parent, &original, source)?;
            tree::make(Name { directory: parent.as_fd(), path: &path, name: &name }, &original)?
        }
    };
    opened(source, original, sink, to)
}

/// Opens the source of a directory whose copy is open.
fn opened(source: &Path, original: Stat, made: Made, to_path: PathBuf) -> Result<Directory, Error> {
    let from = open(source, DIRECTORY, Mode::empty()).map_err(Error::of("open", source))?;
    let from_path = source.to_owned();
    let Made { directory: to, is_new, temporary_mode } = made;
    let (from, original) = (Some(from), Some(original));
    Ok(Directory { from, from_path, to, to_path, is_new, temporary_mode, original })
}

/// Opens the parent directory of `path`, and returns the last name of the path.
fn parent(path: &Path) -> Result<(OwnedFd, PathBuf, CString), Error> {
    let Some(name) = path.file_name() else {
        return Err(Error::invalid(path, "is not a name for a copy"));
    };
    let parent = path.parent().unwrap_or(Path::new(""));
    let directory = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = open(directory, flags, Mode::empty()).map_err(Error::of("open", directory))?;
    Ok((opened, parent.to_owned(), c_string(Path::new(name))?))
}

/// Returns an error if `sink` is below the original. Every directory is below the root directory;
/// a walk of that one skips the copy with an error.
fn is_not_within(sink: &OwnedFd, original: &Stat, source: &Path) -> Result<(), Error> {
    let above = |directory: &OwnedFd| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(directory, c"..", flags, Mode::empty())
    };
    let failed = |call| Error::of(call, source);
    let mut here = fstat(sink).map_err(failed("fstat"))?;
    let mut up = above(sink).map_err(failed("openat"))?;
    let mut is_first = true;
    loop {
        let next = fstat(&up).map_err(failed("fstat"))?;
        let is_root = identity(&next) == identity(&here);
        if identity(&here) == identity(original) && (!is_root || is_first) {
            return Err(Error::invalid(source, "would be copied into itself"));
        }
        if is_root {
            return Ok(());
        }
        is_first = false;
        here = next;
        up = above(&up).map_err(failed("openat"))?;
    }
}

fn c_string(path: &Path) -> Result<CString, Error> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::invalid(path, "contains a NUL byte"))
}
