//! One run: from sources and a target to an account.

use rustix::fs::{AtFlags, lstat, statat};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::account::Account;
use crate::created::{Created, Order};
use crate::crew::{Crew, with_crew};
use crate::error::Error;
use crate::links::Links;
use crate::observer::Observer;
use crate::options::Options;
use crate::target::{self, Found, name_within};
use crate::tree;

/// What all threads of a run share.
pub(crate) struct Run<'a> {
    pub(crate) options: &'a Options,
    pub(crate) observer: &'a dyn Observer,
    pub(crate) links: Mutex<Links>,
    /// Of several sources.
    pub(crate) created: Option<Created>,
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
    let created = (sources.len() > 1).then(Created::default);
    let run = Run { options: &options, observer, links: Mutex::default(), created };
    with_crew(&run, |crew| {
        let mut order = Order::default();
        for source in sources {
            let outcome = copy_in_order(source, target, &mut order, crew);
            crew.settle(outcome);
        }
    })
}

/// Copies a source, after those before it that might meet it in one name.
fn copy_in_order<'a>(
    source: &'a Path,
    target: &Path,
    order: &mut Order<'a>,
    crew: &mut Crew<'_>,
) -> Result<(), Error> {
    crew.run.go_on()?;
    if crew.run.created.is_some() {
        if order.is_repeated(source) {
            crew.run.observer.warned(source, "is given more than once, and copied once");
            crew.account.skipped += 1;
            return Ok(());
        }
        if order.has_to_wait(source, target) {
            crew.wait();
        }
    }
    copy_one(source, target, crew)
}

fn copy_one(source: &Path, target: &Path, crew: &mut Crew<'_>) -> Result<(), Error> {
    let several = crew.run.created.is_some();
    match target::find(source, target, several, crew.run.options)? {
        Found::Entry { parents, from, to, kind } => {
            if let (Some(created), false) = (&crew.run.created, crew.run.options.keep_existing) {
                // A link and the file behind it.
                let path = name_within(source, target);
                created.refuse(source, (&path, lstat(&path).ok().as_ref()))?;
                let there = statat(&parents.to, &to, AtFlags::SYMLINK_NOFOLLOW);
                created.refuse(source, (&path, there.ok().as_ref()))?;
            }
            crew.entry(&Arc::new(parents), from, to, kind);
            Ok(())
        }
        Found::Tree(root) => tree::walk(root, crew),
    }
}
