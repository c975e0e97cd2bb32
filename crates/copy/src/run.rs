//! One run: from sources and a target to an account.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::account::Account;
use crate::crew::{Crew, with_crew};
use crate::error::Error;
use crate::links::Links;
use crate::observer::Observer;
use crate::options::Options;
use crate::sync::Batch;
use crate::target::{self, Found};
use crate::tree;

/// What all threads of a run share.
pub(crate) struct Run<'a> {
    pub(crate) options: &'a Options,
    pub(crate) observer: &'a dyn Observer,
    pub(crate) links: Mutex<Links>,
    pub(crate) batch: Mutex<Batch>,
}

impl Run<'_> {
    /// Enters a failure and tells of it; that the run was stopped is told by whoever stopped it.
    pub(crate) fn settle(&self, outcome: Result<(), Error>, account: &mut Account) {
        match outcome {
            Ok(()) | Err(Error::Stopped) => {}
            Err(error) => {
                account.failed += 1;
                self.observer.failed(&error);
            }
        }
    }

    /// An error, if the observer has had enough.
    pub(crate) fn go_on(&self) -> Result<(), Error> {
        if self.observer.stops() { Err(Error::Stopped) } else { Ok(()) }
    }
}

/// Copies `sources` to `target`, or into it if it is a directory, as cp(1) does. What cannot be
/// copied is told to the observer and counted; the rest goes on.
pub fn copy(
    sources: &[PathBuf],
    target: &Path,
    options: &Options,
    observer: &dyn Observer,
) -> Account {
    let mut options = *options;
    if sources.len() == 1 && !options.enters_directories() {
        options.jobs = NonZeroUsize::MIN; // there will be one
    }
    let run = Run { options: &options, observer, links: Mutex::default(), batch: Mutex::default() };
    let mut account = with_crew(&run, |crew| {
        for source in sources {
            let outcome = copy_one(source, target, sources.len() > 1, crew);
            crew.settle(outcome);
        }
    });
    run.sync_rest(&mut account);
    account
}

fn copy_one(source: &Path, target: &Path, several: bool, crew: &mut Crew<'_>) -> Result<(), Error> {
    crew.run.go_on()?;
    match target::find(source, target, several, crew.run.options)? {
        Found::Entry { parents, from, to, kind } => {
            let parents = Arc::new(parents);
            crew.entry(&parents, from, to, kind);
            crew.leave(parents);
            Ok(())
        }
        Found::Tree(root) => tree::walk(root, crew),
    }
}
