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
use crate::stream::{self, Stream};
use crate::tree::{self, DIRECTORY};

/// What there is to do.
pub(crate) enum Found {
    /// What is no directory, from one to another.
    Entry { parents: Directory, from: CString, to: CString, kind: FileType },
    /// A directory, open on both sides.
    Tree(Directory),
    /// A pipe or a device at one end or both.
    Stream(Stream),
}

/// Finds out. `several`: the target has to be a directory.
pub(crate) fn find(
    source: &Path,
    target: &Path,
    several: bool,
    options: &Options,
) -> Result<Found, Error> {
    if let Some(stream) = stream::find(source, target, several, options)? {
        return Ok(Found::Stream(stream));
    }
    let itself = has_no_name(source);
    // "a/" is what a link points to, "a/." what is in it.
    let ends_with_slash = source.as_os_str().as_bytes().ends_with(b"/");
    let follows = !options.enters_directories() || itself || ends_with_slash;
    let (call, looked) = if follows { ("stat", stat(source)) } else { ("lstat", lstat(source)) };
    let original = looked.map_err(Error::of(call, source))?;
    let kind = FileType::from_raw_mode(original.st_mode);
    if kind.is_dir() && !options.enters_directories() {
        return Err(Error::refused(source, "is a directory, which is copied with -r only"));
    }
    if !kind.is_dir() && !kind.is_file() && !options.enters_directories() {
        return Err(Error::refused(source, "is no regular file; it is made anew with -r only"));
    }
    let to = within(source, target, several)?;
    if kind.is_dir() && itself && is_directory(target)? {
        let sink = open(&to, DIRECTORY, Mode::empty()).map_err(Error::of("open", &to))?;
        is_not_within(&sink, &original, source)?;
        opened(source, original, (sink, false), to).map(Found::Tree)
    } else if kind.is_dir() {
        directory(source, original, to).map(Found::Tree)
    } else {
        entry(source, kind, &to)
    }
}

/// The name that a source is copied to: `target`, or a name in it.
pub(crate) fn within(source: &Path, target: &Path, several: bool) -> Result<PathBuf, Error> {
    match is_directory(target)? {
        true => Ok(name_within(source, target)),
        false if several => {
            Err(Error::refused(target, "is no directory, and there are several to copy"))
        }
        false => Ok(target.to_owned()),
    }
}

/// Whether a source stands for what is in it, and not for a name: `.`, `..`, `x/..`, `/`.
pub(crate) fn has_no_name(source: &Path) -> bool {
    let written = source.as_os_str().as_bytes();
    let trimmed = written.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
    let last = written[..trimmed].rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    matches!(last, b"" | b"." | b"..")
}

/// Where in the directory `target` a source goes.
pub(crate) fn name_within(source: &Path, target: &Path) -> PathBuf {
    match source.file_name() {
        Some(name) if !has_no_name(source) => target.join(name),
        _ => target.to_owned(),
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
    let (parents, to) = if kind.is_file() { place(to)? } else { named(to)? };
    Ok(Found::Entry { parents, from: c_string(source)?, to, kind })
}

/// The directory and the name of a regular file that is to be at `to`.
pub(crate) fn place(to: &Path) -> Result<(Directory, CString), Error> {
    named(&followed(to)?)
}

fn named(to: &Path) -> Result<(Directory, CString), Error> {
    if to.as_os_str().as_bytes().ends_with(b"/") {
        return Err(Error::refused(to, "is no directory"));
    }
    let (parent, parent_path, name) = parent(to)?;
    let parents = Directory {
        from: None,
        from_path: PathBuf::new(),
        to: parent,
        to_path: parent_path,
        is_new: false,
        original: None,
    };
    Ok((parents, name))
}

/// Where a link that stands at `to` leads: as with cp(1), the file is replaced that it means.
fn followed(to: &Path) -> Result<PathBuf, Error> {
    match lstat(to) {
        Ok(there) if FileType::from_raw_mode(there.st_mode).is_symlink() => fs::canonicalize(to)
            .map_err(|_| Error::refused(to, "is a symbolic link that leads nowhere")),
        _ => Ok(to.to_owned()),
    }
}

/// A directory, from `source` to the name `to`. As in a tree, a link that stands there is not
/// followed.
fn directory(source: &Path, original: Stat, to: PathBuf) -> Result<Directory, Error> {
    let (parent, path, name) = parent(&to)?;
    let sink = match openat(&parent, &name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
        Ok(sink) => {
            is_not_within(&sink, &original, source)?;
            (sink, false)
        }
        Err(_) => {
            is_not_within(&parent, &original, source)?;
            tree::make(Name { directory: parent.as_fd(), path: &path, name: &name }, &original)?
        }
    };
    opened(source, original, sink, to)
}

/// Both sides of a directory. Of the copy it is said whether this run made it.
fn opened(
    source: &Path,
    original: Stat,
    (to, is_new): (OwnedFd, bool),
    to_path: PathBuf,
) -> Result<Directory, Error> {
    let from = open(source, DIRECTORY, Mode::empty()).map_err(Error::of("open", source))?;
    let from_path = source.to_owned();
    Ok(Directory { from: Some(from), from_path, to, to_path, is_new, original: Some(original) })
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

/// Returns an error if the way up from `sink` leads through the original. Everything is within the
/// root directory: of that the walk leaves out the copy, and says so.
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
            return Err(Error::refused(source, "would be copied into itself"));
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
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::refused(path, "has a zero byte"))
}
