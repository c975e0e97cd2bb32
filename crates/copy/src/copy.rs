//! The entry point: copies a list of sources to one target.

use rustix::fs::{AtFlags, lstat, statat};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::context::Context;
use crate::created::{Created, Order};
use crate::error::Error;
use crate::name::{Name, name_within};
use crate::observer::Observer;
use crate::options::Options;
use crate::stream::{self, Output, Stream};
use crate::summary::Summary;
use crate::target::{self, Found};
use crate::tree;
use crate::workers::{Workers, with_workers};

/// Copies `sources` to `target`, or into it if it is a directory, as cp(1) does.
///
/// An error of one file or directory is reported to the observer and counted in
/// [`Summary::failed`]; the copy continues with the next one.
pub fn copy(
    sources: &[PathBuf],
    target: &Path,
    options: &Options,
    observer: &dyn Observer,
) -> Summary {
    let mut options = *options;
    if sources.len() == 1 && !options.enters_directories() {
        options.jobs = NonZeroUsize::MIN; // there is one file
    }
    let created = (sources.len() > 1).then(Created::default);
    let context = Context::new(&options, observer, created);
    let (mut sources, mut order, mut tree) = (sources.iter(), Order::default(), None::<tree::Walk>);
    let mut summary = with_workers(&context, |workers| {
        if tree.as_mut().is_some_and(|tree| tree.step(workers)) {
            return true;
        }
        tree = None;
        let Some(source) = sources.next() else { return false };
        match copy_in_order(source, target, &mut order, workers) {
            Ok(found) => tree = found,
            Err(error) => workers.record(Err(error)),
        }
        true
    });
    context.sync_rest(&mut summary);
    summary
}

/// Copies a source; returns the walk of a tree. Waits first for the earlier sources that might write to the same name.
fn copy_in_order<'a>(
    source: &'a Path,
    target: &Path,
    order: &mut Order<'a>,
    workers: &mut Workers<'_>,
) -> Result<Option<tree::Walk>, Error> {
    workers.context.check_stop()?;
    if workers.context.created.is_some() {
        if order.is_repeated(source) {
            workers.context.observer.warned(source, "is given more than once, and copied once");
            workers.summary.skipped += 1;
            return Ok(None);
        }
        if order.has_to_wait(source, target) {
            workers.wait_idle();
        }
    }
    copy_one(source, target, workers)
}

fn copy_one(
    source: &Path,
    target: &Path,
    workers: &mut Workers<'_>,
) -> Result<Option<tree::Walk>, Error> {
    let context = workers.context;
    let several = context.created.is_some();
    if let Some(stream) = stream::find(source, target, several, context.options)? {
        return copy_stream(stream, (source, target), workers).map(|()| None);
    }
    match target::find(source, target, several, context.options)? {
        Found::Entry { parents, from, to, kind } => {
            refuse_created(source, target, parents.sink(&to), context)?;
            let parents = Arc::new(parents);
            workers.copy_entry(&parents, from, to, kind);
            workers.release(parents);
            Ok(None)
        }
        Found::Tree(root) => tree::Walk::new(root, workers).map(Some),
    }
}

fn copy_stream(
    stream: Stream,
    (source, target): (&Path, &Path),
    workers: &mut Workers<'_>,
) -> Result<(), Error> {
    let context = workers.context;
    let Output::File { parents, name } = &stream.to else {
        return stream.copy(context, &mut workers.summary);
    };
    refuse_created(source, target, parents.sink(name), context)?;
    let outcome = stream.copy(context, &mut workers.summary);
    parents.remember_created(parents.sink(name), &outcome, context);
    if let Stream { to: Output::File { parents, .. }, .. } = stream {
        workers.release(parents);
    }
    outcome
}

/// Returns an error if this copy made the file that `source` would replace, or a link to it.
fn refuse_created(
    source: &Path,
    target: &Path,
    to: Name<'_>,
    context: &Context<'_>,
) -> Result<(), Error> {
    if let (Some(created), false) = (&context.created, context.options.keep_existing) {
        let path = name_within(source, target);
        created.refuse(source, (&path, lstat(&path).ok().as_ref()))?;
        let there = statat(to.directory, to.name, AtFlags::SYMLINK_NOFOLLOW);
        created.refuse(source, (&path, there.ok().as_ref()))?;
    }
    Ok(())
}
