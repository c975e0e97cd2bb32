//! Where the bytes of a copy go: into a new file that gets its name when it is whole, or, in place,
//! into the file that has the name.
//!
//! In place means open(2) and ftruncate(2), as cp(1) does it: inode, hard links, owner and mode
//! stay. That is the only way where nothing can be renamed over the file: it is a mount point (a
//! file that is bind-mounted into a container), or its directory is not writable.
//!
//! # Limitations
//!
//! In place a copy that ends early leaves a part of the new content and none of the old. Readers
//! see it grow.

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, ftruncate, openat};
use rustix::io::Errno;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Error;
use crate::links::{Identity, identity};
use crate::name::Name;
use crate::run::Run;
use crate::unplaced::{Placed, Unplaced};

/// The file that a copy is written to.
pub(crate) enum Sink<'a> {
    New(Unplaced<'a>),
    Existing(Arc<OwnedFd>),
}

impl<'a> Sink<'a> {
    /// Makes a new file with this mode, or opens and truncates the regular file `old`, if the
    /// options say so.
    pub(crate) fn open(
        from: (&Stat, Name<'_>),
        (old, to): (Option<&Stat>, Name<'a>),
        mode: Mode,
        run: &Run<'_>,
    ) -> Result<Self, Error> {
        if old.is_some() && run.options.in_place {
            return open_existing(from, to, run).map(Self::Existing);
        }
        let created = Unplaced::create(to, mode);
        created.map(Self::New).map_err(|error| proposing(error, old))
    }

    pub(crate) fn file(&self) -> &Arc<OwnedFd> {
        match self {
            Self::New(unplaced) => unplaced.file(),
            Self::Existing(file) => file,
        }
    }

    pub(crate) fn is_in_place(&self) -> bool {
        matches!(self, Self::Existing(_))
    }

    /// The error of a copy that ended early.
    pub(crate) fn ended_early(&self, error: Error, to: Name<'_>) -> Error {
        match self {
            Self::New(_) => error,
            Self::Existing(_) => Error::Incomplete { path: to.path(), error: Box::new(error) },
        }
    }

    /// Gives the whole file its name.
    pub(crate) fn place(
        self,
        (old, to): (Option<&Stat>, Name<'_>),
        keep_existing: bool,
        run: &Run<'_>,
    ) -> Result<Placed, Error> {
        let Self::New(unplaced) = self else { return Ok(Placed::Here) };
        let placed = unplaced.place(to, keep_existing);
        placed.map_err(|error| proposing(error, old))?.permitted(run.options, to)
    }
}

/// Opens the file that has the name `to`, and removes its content. The source is open already.
fn open_existing(
    (source, from): (&Stat, Name<'_>),
    to: Name<'_>,
    run: &Run<'_>,
) -> Result<Arc<OwnedFd>, Error> {
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(to.directory, to.name, flags, Mode::empty()).map_err(to.failed("openat"))?;
    let there = fstat(&file).map_err(to.failed("fstat"))?;
    if !FileType::from_raw_mode(there.st_mode).is_file() {
        return Err(to.refused("is no longer a regular file"));
    }
    if identity(&there) == identity(source) {
        return Err(Error::SameFile { from: from.path(), to: to.path() });
    }
    if there.st_nlink > 1 && !run.written.may_take(identity(&there), identity(source)) {
        return Err(Error::JustCreated { from: from.path(), to: to.path() });
    }
    ftruncate(&file, 0).map_err(to.failed("ftruncate"))?;
    Ok(Arc::new(file))
}

/// Files with several names that were written in place, each with its source: two sources must not
/// meet in one of them.
#[derive(Debug, Default)]
pub(crate) struct Written(Mutex<HashMap<Identity, Identity>>);

impl Written {
    fn may_take(&self, file: Identity, source: Identity) -> bool {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *written.entry(file).or_insert(source) == source
    }

    /// The next sources may write to the same files.
    pub(crate) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The error with a proposal, where the file could not be replaced but may be written to.
fn proposing(error: Error, old: Option<&Stat>) -> Error {
    let hinders = match &error {
        Error::Call { errno, .. } => {
            matches!(*errno, Errno::BUSY | Errno::ACCESS | Errno::PERM | Errno::ROFS)
        }
        // An append-only directory.
        Error::Refused { .. } => true,
        _ => false,
    };
    if old.is_some() && hinders { Error::NotReplaced { error: Box::new(error) } } else { error }
}
