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
use crate::name::Name;
use crate::observer::Observer;
use crate::options::Options;
use crate::sink::Written;
use crate::stream::{Output, Stream};
use crate::sync::Batch;
use crate::target::{self, Found, name_within};
use crate::tree;

/// What all threads of a run share.
pub(crate) struct Run<'a> {
    pub(crate) options: &'a Options,
    pub(crate) observer: &'a dyn Observer,
    pub(crate) links: Mutex<Links>,
    pub(crate) batch: Mutex<Batch>,
    pub(crate) written: Written,
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
    let run = Run {
        options: &options,
        observer,
        links: Mutex::default(),
        batch: Mutex::default(),
        written: Written::default(),
        created,
    };
    let mut account = with_crew(&run, |crew| {
        let mut order = Order::default();
        for source in sources {
            let outcome = copy_in_order(source, target, &mut order, crew);
            crew.settle(outcome);
        }
    });
    run.sync_rest(&mut account);
    account
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
            refuse_created(source, target, parents.sink(&to), crew.run)?;
            let parents = Arc::new(parents);
            crew.entry(&parents, from, to, kind);
            crew.leave(parents);
            Ok(())
        }
        Found::Stream(stream) => {
            let Output::File { parents, name } = &stream.to else {
                return stream.copy(crew.run, &mut crew.account);
            };
            refuse_created(source, target, parents.sink(name), crew.run)?;
            let outcome = stream.copy(crew.run, &mut crew.account);
            parents.entered(parents.sink(name), &outcome, crew.run);
            if let Stream { to: Output::File { parents, .. }, .. } = stream {
                crew.leave(parents);
            }
            outcome
        }
        Found::Tree(root) => tree::walk(root, crew),
    }
}

/// Returns an error if this run has made what `source` would replace, or a link that leads there.
fn refuse_created(source: &Path, target: &Path, to: Name<'_>, run: &Run<'_>) -> Result<(), Error> {
    if let (Some(created), false) = (&run.created, run.options.keep_existing) {
        let path = name_within(source, target);
        created.refuse(source, (&path, lstat(&path).ok().as_ref()))?;
        let there = statat(to.directory, to.name, AtFlags::SYMLINK_NOFOLLOW);
        created.refuse(source, (&path, there.ok().as_ref()))?;
    }
    Ok(())
}
