//! From the path of a request to an open file: directories, their `index.html`, precompressed files.
//!
//! It is tried with cached names first (`RESOLVE_CACHED`, Linux 5.12), and repeated in the blocking pool
//! where that would wait for a disk.

use karez_http::{Coding, Target};
use rustix::fs::{Mode, OFlags};
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::runtime::Handle;

use super::options::Options;
use crate::open::{open, open_cached};

/// The result of a lookup.
#[derive(Debug)]
pub(super) enum Found {
    File(Box<Opened>),
    /// A directory whose name was requested without its slash.
    Directory,
    Missing,
}

#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) metadata: Metadata,
    /// The name without the suffix of a coding.
    pub(super) name: PathBuf,
    pub(super) coding: Option<Coding>,
}

/// Finds the file for a request.
pub(super) async fn lookup(
    options: &Arc<Options>,
    target: &Target,
    accepted: Vec<Coding>,
) -> io::Result<Found> {
    let mut path = options.base.clone();
    if options.file.is_none() && !target.path.is_empty() {
        path.push(OsStr::from_bytes(&target.path));
    }
    let directory = target.directory && options.file.is_none();
    if options.remote.get() == Some(&false) {
        match find(options, &path, directory, &accepted, open_cached) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            found => return found,
        }
    }
    let options = Arc::clone(options);
    let runtime = Handle::try_current().map_err(io::Error::other)?;
    let found = runtime.spawn_blocking(move || {
        options.remote.get_or_init(|| is_remote(&options.base));
        find(&options, &path, directory, &accepted, open)
    });
    found.await.map_err(io::Error::other)?
}

/// Returns whether a directory lies, or may lie, on a remote file system; may block.
fn is_remote(directory: &Path) -> bool {
    let opened = rustix::fs::open(directory, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    opened.and_then(karez_transfer::is_remote).unwrap_or(true)
}

fn find(
    options: &Options,
    path: &Path,
    directory: bool,
    accepted: &[Coding],
    open: fn(&Path) -> io::Result<File>,
) -> io::Result<Found> {
    if directory {
        return match options.index {
            true => file(&path.join("index.html"), accepted, open),
            false => Ok(Found::Missing),
        };
    }
    match file(path, accepted, open)? {
        Found::Directory if !options.index || options.file.is_some() => Ok(Found::Missing),
        found => Ok(found),
    }
}

/// Opens the first of the precompressed files and the plain one that exists.
fn file(
    path: &Path,
    accepted: &[Coding],
    open: fn(&Path) -> io::Result<File>,
) -> io::Result<Found> {
    for &coding in accepted {
        let mut name = OsString::from(path);
        name.push(suffix(coding));
        if let Found::File(opened) = opened(Path::new(&name), path, open)? {
            return Ok(Found::File(Box::new(Opened { coding: Some(coding), ..*opened })));
        }
    }
    opened(path, path, open)
}

fn opened(path: &Path, name: &Path, open: fn(&Path) -> io::Result<File>) -> io::Result<Found> {
    let file = match open(path) {
        Ok(file) => file,
        Err(error) if is_missing(&error) => return Ok(Found::Missing),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    Ok(match metadata.file_type() {
        kind if kind.is_dir() => Found::Directory,
        kind if kind.is_file() => {
            let name = name.to_owned();
            Found::File(Box::new(Opened { file, metadata, name, coding: None }))
        }
        _ => Found::Missing,
    })
}

/// Returns whether the error means that the client may not have a file of this name.
fn is_missing(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = Errno::from_io_error(error);
    let errnos = [Errno::NAMETOOLONG, Errno::LOOP, Errno::NOTDIR, Errno::NXIO, Errno::INVAL];
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::InvalidInput
    ) || errno.is_some_and(|errno| errnos.contains(&errno))
}

fn suffix(coding: Coding) -> &'static str {
    match coding {
        Coding::Zstd => ".zst",
        Coding::Brotli => ".br",
        Coding::Gzip => ".gz",
    }
}
