//! The destination of a copy: a new file that gets its name when it is complete, or, in place, the
//! existing file.
//!
//! In place means open(2) and ftruncate(2), as cp(1) does: inode, hard links, owner and mode stay.
//! It is the only method where no file can be renamed over the existing one: a mount point (a file
//! that is bind-mounted into a container), or a directory that is not writable.
//!
//! # Limitations
//!
//! A copy in place that ends early has a part of the new content and none of the old. Readers see
//! it grow.

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, ftruncate, openat};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::atomic_file::{Commit, NewMode, PendingFile};
use crate::context::Context;
use crate::error::Error;
use crate::hard_links::identity;
use crate::name::Name;

/// The file that a copy is written to.
pub(crate) enum Sink<'a> {
    New(PendingFile<'a>),
    Existing(Arc<OwnedFd>),
}

impl<'a> Sink<'a> {
    /// Makes a new file with this mode or, with the option `in_place`, opens and truncates the regular
    /// file `old`.
    pub(crate) fn open(
        from: (&Stat, Name<'_>),
        (old, to): (Option<&Stat>, Name<'a>),
        mode: impl Into<NewMode>,
        context: &Context<'_>,
    ) -> Result<Self, Error> {
        if old.is_some() && context.options.in_place {
            return open_existing(from, to, context).map(Self::Existing);
        }
        let created = PendingFile::create(to, mode.into());
        created.map(Self::New).map_err(|error| proposing(error, old))
    }

    pub(crate) fn file(&self) -> &Arc<OwnedFd> {
        match self {
            Self::New(pending) => pending.file(),
            Self::Existing(file) => file,
        }
    }

    pub(crate) fn is_in_place(&self) -> bool {
        matches!(self, Self::Existing(_))
    }

    /// Makes the error of a copy that ended early.
    pub(crate) fn ended_early(&self, error: Error, to: Name<'_>) -> Error {
        match self {
            Self::New(_) => error,
            Self::Existing(_) => Error::Incomplete { path: to.path(), error: Box::new(error) },
        }
    }

    /// Gives the complete file its name.
    pub(crate) fn commit(
        self,
        (old, to): (Option<&Stat>, Name<'_>),
        keep_existing: bool,
        context: &Context<'_>,
    ) -> Result<Commit, Error> {
        let Self::New(pending) = self else { return Ok(Commit::Committed) };
        let commit = pending.commit(to, keep_existing);
        commit.map_err(|error| proposing(error, old))?.permitted(context.options, to)
    }
}

/// Opens and truncates the existing file `to`. The source is open already.
fn open_existing(
    (source, from): (&Stat, Name<'_>),
    to: Name<'_>,
    context: &Context<'_>,
) -> Result<Arc<OwnedFd>, Error> {
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(to.directory, to.name, flags, Mode::empty()).map_err(to.failed("openat"))?;
    let there = fstat(&file).map_err(to.failed("fstat"))?;
    if !FileType::from_raw_mode(there.st_mode).is_file() {
        return Err(to.invalid("is no longer a regular file"));
    }
    if identity(&there) == identity(source) {
        return Err(Error::SameFile { from: from.path(), to: to.path() });
    }
    if there.st_nlink > 1 && !context.written.may_take(identity(&there), identity(source)) {
        return Err(Error::JustCreated { from: from.path(), to: to.path() });
    }
    ftruncate(&file, 0).map_err(to.failed("ftruncate"))?;
    Ok(Arc::new(file))
}

/// Adds a hint to `--in-place` where the file could not be replaced but may be written to.
fn proposing(error: Error, old: Option<&Stat>) -> Error {
    let hinders = match &error {
        Error::Call { errno, .. } => {
            matches!(*errno, Errno::BUSY | Errno::ACCESS | Errno::PERM | Errno::ROFS)
        }
        // An append-only directory.
        Error::Invalid { .. } => true,
        _ => false,
    };
    if old.is_some() && hinders { Error::NotReplaced { error: Box::new(error) } } else { error }
}
