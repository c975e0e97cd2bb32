//! A directory that is copied, open on both sides for as long as one of its entries is on its way.

use rustix::fs::{CWD, Mode, Stat, fchmod, fstat};
use std::ffi::CStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use crate::account::Account;
use crate::attributes::{self, ALL};
use crate::error::Error;
use crate::name::Name;
use crate::refusals::Refusals;
use crate::run::Run;

/// The same directory on both sides.
pub(crate) struct Directory {
    /// `None` for the directory that the process is in.
    pub(crate) from: Option<OwnedFd>,
    pub(crate) from_path: PathBuf,
    pub(crate) to: OwnedFd,
    pub(crate) to_path: PathBuf,
    /// This run made it, so nothing can be there already.
    pub(crate) is_new: bool,
    /// What it was like, if it is one of the directories that are copied.
    pub(crate) original: Option<Stat>,
}

impl Directory {
    pub(crate) fn from(&self) -> BorrowedFd<'_> {
        self.from.as_ref().map_or(CWD, |from| from.as_fd())
    }

    /// An entry of the source.
    pub(crate) fn source<'a>(&'a self, name: &'a CStr) -> Name<'a> {
        Name { directory: self.from(), path: &self.from_path, name }
    }

    /// An entry of what it is copied to.
    pub(crate) fn sink<'a>(&'a self, name: &'a CStr) -> Name<'a> {
        Name { directory: self.to.as_fd(), path: &self.to_path, name }
    }

    /// Remembers what has the name `to` now, if the command line says so and other names follow.
    pub(crate) fn entered(&self, to: Name<'_>, outcome: &Result<(), Error>, run: &Run<'_>) {
        if let (Some(created), None, Ok(())) = (&run.created, &self.original, outcome) {
            created.remember(to);
        }
    }

    /// Lets go of it. Whoever is the last gives it its attributes: entries change its times, and
    /// its mode may not let them in.
    pub(crate) fn leave(self: Arc<Self>, run: &Run<'_>, account: &mut Account) {
        if let Some(directory) = Arc::into_inner(self) {
            let outcome = directory.finish(run, account);
            run.settle(outcome, account);
            if run.options.sync {
                run.sync_directory(directory, account);
            }
        }
    }

    fn finish(&self, run: &Run<'_>, account: &mut Account) -> Result<(), Error> {
        let Some(original) = &self.original else {
            return Ok(());
        };
        if run.options.archive {
            // As names, attributes are kept of the first source then.
            if let (Some(created), true) = (&run.created, run.options.keep_existing) {
                let there = fstat(&self.to).map_err(Error::of("fstat", &self.to_path))?;
                if !created.is_first(&there) {
                    return Ok(());
                }
            }
            let (from, to) = (self.source(c""), self.sink(c""));
            let (from, to) = ((self.from(), original, from), (self.to.as_fd(), to));
            attributes::keep(from, to, &mut Refusals::new(run, account));
            return Ok(());
        }
        // It was made with all rights for us, which the original may not have given.
        let added = 0o700 & !original.st_mode;
        if self.is_new && added != 0 {
            let path = &self.to_path;
            let mode = fstat(&self.to).map_err(Error::of("fstat", path))?.st_mode & ALL;
            let mode = Mode::from_raw_mode(mode & !added);
            if let Err(errno) = fchmod(&self.to, mode) {
                let error = Error::of("fchmod", path)(errno);
                Refusals::new(run, account).enter("mode", error, errno);
            }
        }
        Ok(())
    }
}
