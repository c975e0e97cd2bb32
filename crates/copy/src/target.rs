//! What the two names of a command mean: which entry of which directory, as cp(1) has it.

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, lstat, open, openat, stat};
use rustix::io::Errno;
use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::directory::Directory;
use crate::error::Error;
use crate::links::identity;
use crate::name::Name;
use crate::options::Options;
use crate::tree::{self, DIRECTORY};

/// What there is to do.
pub(crate) enum Found {
    /// What is no directory, from one to another.
    Entry { parents: Directory, from: CString, to: CString, kind: FileType },
    /// A directory, open on both sides.
    Tree(Directory),
}

/// Finds out. `several`: the target has to be a directory.
pub(crate) fn find(
    source: &Path,
    target: &Path,
    several: bool,
    options: &Options,
) -> Result<Found, Error> {
    let written = source.as_os_str().as_bytes();
    // "a/" is what a link points to, "a/." what is in it.
    let itself = written == b"." || written.ends_with(b"/.");
    let follows = !options.enters_directories() || itself || written.ends_with(b"/");
    let (call, looked) = if follows { ("stat", stat(source)) } else { ("lstat", lstat(source)) };
    let original = looked.map_err(Error::of(call, source))?;
    let kind = FileType::from_raw_mode(original.st_mode);
    if kind.is_dir() && !options.enters_directories() {
        return Err(Error::refused(source, "is a directory, which is copied with -r only"));
    }
    if !kind.is_dir() && !kind.is_file() && !options.enters_directories() {
        return Err(Error::refused(source, "is no regular file; it is made anew with -r only"));
    }
    let target_is_directory = is_directory(target)?;
    if several && !target_is_directory {
        return Err(Error::refused(target, "is no directory, and there are several to copy"));
    }
    let to = match (target_is_directory, source.file_name()) {
        (true, _) if itself => target.to_owned(),
        (true, Some(name)) => target.join(name),
        (true, None) => return Err(Error::refused(source, "has no name to be copied under")),
        (false, _) => target.to_owned(),
    };
    if kind.is_dir() {
        directory(source, &original, to).map(Found::Tree)
    } else {
        entry(source, kind, &to)
    }
}

fn is_directory(path: &Path) -> Result<bool, Error> {
    match stat(path) {
        Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode).is_dir()),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(Error::of("stat", path)(errno)),
    }
}

/// What is no directory, from the name `source` to the name `to`.
fn entry(source: &Path, kind: FileType, to: &Path) -> Result<Found, Error> {
    let to = if kind.is_file() { followed(to)? } else { to.to_owned() };
    if to.as_os_str().as_bytes().ends_with(b"/") {
        return Err(Error::refused(to, "is no directory"));
    }
    let (parent, parent_path, name) = parent(&to)?;
    let parents = Directory {
        from: None,
        from_path: PathBuf::new(),
        to: parent,
        to_path: parent_path,
        is_new: false,
        original: None,
    };
    Ok(Found::Entry { parents, from: c_string(source)?, to: name, kind })
}

/// Where a link that stands at `to` leads: as with cp(1), the file is replaced that it means.
fn followed(to: &Path) -> Result<PathBuf, Error> {
    match lstat(to) {
        Ok(there) if FileType::from_raw_mode(there.st_mode).is_symlink() => fs::canonicalize(to)
            .map_err(|_| Error::refused(to, "is a symbolic link that leads nowhere")),
        _ => Ok(to.to_owned()),
    }
}

/// A directory, from `source` to the name `to`.
fn directory(source: &Path, original: &Stat, to: PathBuf) -> Result<Directory, Error> {
    let from = open(source, DIRECTORY, Mode::empty()).map_err(Error::of("open", source))?;
    let (sink, is_new) = if is_directory(&to)? {
        let sink = open(&to, DIRECTORY, Mode::empty()).map_err(Error::of("open", &to))?;
        is_not_within(&sink, original, source)?;
        (sink, false)
    } else {
        let (parent, path, name) = parent(&to)?;
        is_not_within(&parent, original, source)?;
        let name = Name { directory: parent.as_fd(), path: &path, name: &name };
        tree::make(name, original)?
    };
    Ok(Directory {
        from: Some(from),
        from_path: source.to_owned(),
        to: sink,
        to_path: to,
        is_new,
        original: Some(*original),
    })
}

/// The directory that `path` is in, and its name there.
fn parent(path: &Path) -> Result<(OwnedFd, PathBuf, CString), Error> {
    let Some(name) = path.file_name() else {
        return Err(Error::refused(path, "is no name for a copy"));
    };
    let parent = path.parent().unwrap_or(Path::new(""));
    let directory = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = open(directory, flags, Mode::empty()).map_err(Error::of("open", directory))?;
    Ok((opened, parent.to_owned(), c_string(Path::new(name))?))
}

/// An error if the way up from `sink` leads through the original.
fn is_not_within(sink: &OwnedFd, original: &Stat, source: &Path) -> Result<(), Error> {
    let above = |directory: &OwnedFd| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(directory, c"..", flags, Mode::empty())
    };
    let failed = |call| Error::of(call, source);
    let mut here = fstat(sink).map_err(failed("fstat"))?;
    let mut up = above(sink).map_err(failed("openat"))?;
    loop {
        if identity(&here) == identity(original) {
            return Err(Error::refused(source, "would be copied into itself"));
        }
        let next = fstat(&up).map_err(failed("fstat"))?;
        if identity(&next) == identity(&here) {
            return Ok(());
        }
        here = next;
        up = above(&up).map_err(failed("openat"))?;
    }
}

fn c_string(path: &Path) -> Result<CString, Error> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::refused(path, "has a zero byte"))
}
