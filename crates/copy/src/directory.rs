//! A directory that is copied, open on both sides until its last entry is copied.

use rustix::fs::{CWD, Mode, OFlags, Stat, fchmod, fstat, openat};
use std::ffi::CStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use crate::attribute_failures::AttributeFailures;
use crate::attributes::{self, ALL};
use crate::context::Context;
use crate::error::Error;
use crate::name::Name;
use crate::summary::Summary;

/// A source directory and its copy.
pub(crate) struct Directory {
    /// `None` for the working directory.
    pub(crate) from: Option<OwnedFd>,
    pub(crate) from_path: PathBuf,
    pub(crate) to: OwnedFd,
    pub(crate) to_path: PathBuf,
    /// This copy made the directory, so it had no entries before.
    pub(crate) is_new: bool,
    /// The bits that a new directory's mode has only while entries are made in it.
    pub(crate) temporary_mode: u32,
    /// The attributes of the source; `None` if the directory is only the parent of a target.
    pub(crate) original: Option<Stat>,
}

impl Directory {
    pub(crate) fn from(&self) -> BorrowedFd<'_> {
        self.from.as_ref().map_or(CWD, |from| from.as_fd())
    }

    /// Returns an entry of the source.
    pub(crate) fn source<'a>(&'a self, name: &'a CStr) -> Name<'a> {
        Name { directory: self.from(), path: &self.from_path, name }
    }

    /// Returns an entry of the copy.
    pub(crate) fn sink<'a>(&'a self, name: &'a CStr) -> Name<'a> {
        Name { directory: self.to.as_fd(), path: &self.to_path, name }
    }

    /// Remembers the new entry `to`, if it was named as a source and other sources follow.
    pub(crate) fn remember_created(
        &self,
        to: Name<'_>,
        outcome: &Result<(), Error>,
        context: &Context<'_>,
    ) {
        if let (Some(created), None, Ok(())) = (&context.created, &self.original, outcome) {
            created.remember(to);
        }
    }

    /// Releases a reference. The last release sets the attributes: every new entry changes the
    /// times, and the final mode may not permit new entries.
    pub(crate) fn release(self: Arc<Self>, context: &Context<'_>, summary: &mut Summary) {
        if let Some(directory) = Arc::into_inner(self) {
            let outcome = directory.finish(context, summary);
            context.record(outcome, summary);
            if context.options.sync {
                directory.sync(context, summary);
            }
        }
    }

    fn finish(&self, context: &Context<'_>, summary: &mut Summary) -> Result<(), Error> {
        let Some(original) = &self.original else {
            return Ok(());
        };
        if context.options.archive {
            // As with names, the first source wins.
            if let (Some(created), true) = (&context.created, context.options.keep_existing) {
                let there = fstat(&self.to).map_err(Error::of("fstat", &self.to_path))?;
                if !created.is_first(&there) {
                    return Ok(());
                }
            }
            let (from, to) = (self.source(c""), self.sink(c""));
            let (from, to) = ((self.from(), original, from), (self.to.as_fd(), to));
            let failures = &mut AttributeFailures::new(context, summary);
            let listed = attributes::names(self.from());
            attributes::keep((from, listed), to, self.is_new, failures);
            return Ok(());
        }
        if self.is_new && self.temporary_mode != 0 {
            let path = &self.to_path;
            let mode = fstat(&self.to).map_err(Error::of("fstat", path))?.st_mode & ALL;
            let mode = Mode::from_raw_mode(mode & !self.temporary_mode);
            if let Err(errno) = fchmod(&self.to, mode) {
                let error = Error::of("fchmod", path)(errno);
                AttributeFailures::new(context, summary).add("mode", error, errno);
            }
        }
        Ok(())
    }

    /// Adds the complete directory to the batch of files to synchronize.
    fn sync(self, context: &Context<'_>, summary: &mut Summary) {
        let Self { to, to_path, original, .. } = self;
        // The parent of a target was opened by `O_PATH`, which fsync(2) does not accept.
        let opened = if original.is_some() { Ok(to) } else { open(&to, c".", &to_path) };
        add_to_batch(opened, to_path, context, summary);
    }

    /// Adds the directory that has the new directory's name to the batch of files to synchronize.
    pub(crate) fn sync_parent(&self, context: &Context<'_>, summary: &mut Summary) {
        let path = self.to_path.join("..");
        let opened = open(&self.to, c"..", &path);
        add_to_batch(opened, path, context, summary);
    }
}

fn add_to_batch(
    opened: Result<OwnedFd, Error>,
    path: PathBuf,
    context: &Context<'_>,
    summary: &mut Summary,
) {
    let added = opened
        .and_then(|opened| context.batch.add_directory(opened, path, &|| context.check_stop()));
    match added {
        Ok(synced) => context.record_synced(synced, summary),
        Err(error) => context.record(Err(error), summary),
    }
}

fn open(directory: &OwnedFd, name: &CStr, path: &std::path::Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(directory, name, flags, Mode::empty()).map_err(Error::of("openat", path))
}
