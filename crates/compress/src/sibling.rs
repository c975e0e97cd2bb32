//! One compressed file beside its original: is it current, and if not, is a new one smaller?

use std::fs::{self, File, FileTimes, Metadata, Permissions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use karez_http::Coding;

use crate::encode::encode;
use crate::error::Error;
use crate::name::beside;
use crate::observer::{Action, Observer};
use crate::options::Options;

/// The permissions that a compressed file takes over: no set-user-ID, no sticky bit.
const PERMISSIONS: u32 = 0o777;

/// The buffer before the compressed file, in bytes.
const BUFFER: usize = 64 << 10;

/// Brings the file in this coding up to date.
pub(crate) fn update(
    original: &Path,
    coding: Coding,
    options: &Options,
    observer: &impl Observer,
) -> Result<Action, Error> {
    let target = beside(original, coding);
    let (file, before) = open(original)?;
    let existing = existing(&target)?;
    if existing.as_ref().is_some_and(|there| !is_older(there, &before)) {
        observer.advanced(before.len());
        return Ok(Action::Current);
    }
    let packed = match before.len() < options.min_size {
        true => None,
        false => pack(&file, &before, original, &target, coding, options, observer)?,
    };
    match (packed, existing) {
        (Some(bytes), _) => Ok(Action::Written { bytes }),
        (None, Some(_)) => {
            if !options.dry_run {
                fs::remove_file(&target).map_err(|error| Error::new("unlink", &target, error))?;
            }
            Ok(Action::Removed)
        }
        (None, None) => Ok(Action::NotSmaller),
    }
}

fn open(original: &Path) -> Result<(File, Metadata), Error> {
    let file = File::open(original).map_err(|error| Error::new("open", original, error))?;
    let metadata = file.metadata().map_err(|error| Error::new("fstat", original, error))?;
    Ok((file, metadata))
}

/// Returns the file that has the name of the compressed one, if there is one.
fn existing(target: &Path) -> Result<Option<Metadata>, Error> {
    match target.symlink_metadata() {
        Ok(there) if there.is_file() => Ok(Some(there)),
        Ok(_) => {
            let error = io::Error::other("is in the way: it is no regular file");
            Err(Error::new("lstat", target, error))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::new("lstat", target, error)),
    }
}

fn is_older(this: &Metadata, than: &Metadata) -> bool {
    (this.mtime(), this.mtime_nsec()) < (than.mtime(), than.mtime_nsec())
}

/// Compresses, and gives the result its name if it is small enough. Returns its length.
fn pack(
    file: &File,
    before: &Metadata,
    original: &Path,
    target: &Path,
    coding: Coding,
    options: &Options,
    observer: &impl Observer,
) -> Result<Option<u64>, Error> {
    let compress = |to: &mut dyn Write| {
        let mut source = Source { file, observer };
        encode(coding, options.level, before.len(), &mut source, &mut &mut *to)
            .and_then(|()| to.flush())
            .and_then(|()| unchanged(file, before))
            .map_err(|error| Error::new("compress", original, error))
    };
    if options.dry_run {
        let mut count = Count(0);
        compress(&mut count)?;
        return Ok(is_smaller(count.0, before.len()).then_some(count.0));
    }
    let failed = |call, error| Error::new(call, target, error);
    let directory = target.parent().unwrap_or(Path::new("."));
    let temporary = tempfile::Builder::new()
        .prefix(".karez-")
        .tempfile_in(directory)
        .map_err(|error| failed("open", error))?;
    compress(&mut BufWriter::with_capacity(BUFFER, temporary.as_file()))?;
    let bytes = temporary.as_file().metadata().map_err(|error| failed("fstat", error))?.len();
    if !is_smaller(bytes, before.len()) {
        return Ok(None);
    }
    take_over(temporary.as_file(), before).map_err(|(call, error)| failed(call, error))?;
    temporary.persist(target).map_err(|error| failed("rename", error.error))?;
    Ok(Some(bytes))
}

/// Gives a compressed file the permissions and the time of its original, and writes it to the disk. An error
/// has the call.
fn take_over(compressed: &File, before: &Metadata) -> Result<(), (&'static str, io::Error)> {
    let permissions = Permissions::from_mode(before.mode() & PERMISSIONS);
    compressed.set_permissions(permissions).map_err(|error| ("fchmod", error))?;
    let modified = before.modified().map_err(|error| ("fstat", error))?;
    let times = FileTimes::new().set_modified(modified);
    compressed.set_times(times).map_err(|error| ("futimens", error))?;
    compressed.sync_all().map_err(|error| ("fsync", error))
}

/// Returns whether a compressed file is at least 5 % smaller.
fn is_smaller(compressed: u64, plain: u64) -> bool {
    compressed.saturating_mul(100) <= plain.saturating_mul(95)
}

/// Fails if the file is not what it was: the compressed bytes may join two contents.
fn unchanged(file: &File, before: &Metadata) -> io::Result<()> {
    let of = |it: &Metadata| (it.len(), it.mtime(), it.mtime_nsec(), it.ctime(), it.ctime_nsec());
    match of(&file.metadata()?) == of(before) {
        true => Ok(()),
        false => Err(io::Error::other("changed while it was compressed")),
    }
}

/// Reads the original, shows how far it is, and fails if the work is to stop.
struct Source<'a, O> {
    file: &'a File,
    observer: &'a O,
}

impl<O: Observer> Read for Source<'_, O> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.observer.should_stop() {
            return Err(io::Error::other("stopped"));
        }
        let count = self.file.read(into)?;
        self.observer.advanced(count as u64);
        Ok(count)
    }
}

/// Counts bytes, for a dry run.
struct Count(u64);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
