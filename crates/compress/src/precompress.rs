//! The whole tree: one thread finds the files, others compress them, a file in one coding at a time, so that
//! the codings of one large file are made in parallel.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use karez_http::Coding;

use crate::error::Error;
use crate::observer::Observer;
use crate::options::Options;
use crate::sibling;
use crate::summary::Summary;
use crate::walk::walk;

/// The most files that wait for a thread.
const WAITING: usize = 1024;

/// One file in one coding.
struct Task {
    original: PathBuf,
    length: u64,
    coding: Coding,
}

/// Writes compressed files beside those of a directory tree. Errors are reported to the observer and counted.
pub fn precompress(root: &Path, options: &Options, observer: &impl Observer) -> Summary {
    let summary = Mutex::new(Summary::new(&options.codings));
    let (sender, receiver) = sync_channel::<Task>(WAITING);
    let receiver = Mutex::new(receiver);
    thread::scope(|scope| {
        for _ in 0..options.jobs.get() {
            scope.spawn(|| work(&receiver, options, observer, &summary));
        }
        let found = |original: PathBuf, length: u64| {
            with(&summary, |summary| summary.files += 1);
            observer.found(length * options.codings.len() as u64);
            let mut tasks = options
                .codings
                .iter()
                .map(|&coding| sender.send(Task { original: original.clone(), length, coding }));
            tasks.all(|sent| sent.is_ok()) && !observer.should_stop()
        };
        walk(root, options, found, |error| report(&error, observer, &summary));
        drop(sender);
    });
    let mut summary = summary.into_inner().unwrap_or_else(PoisonError::into_inner);
    summary.stopped = observer.should_stop();
    summary
}

/// Takes tasks until there are no more.
fn work(
    tasks: &Mutex<Receiver<Task>>,
    options: &Options,
    observer: &impl Observer,
    summary: &Mutex<Summary>,
) {
    loop {
        let next = tasks.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Task { original, length, coding }) = next else { return };
        if observer.should_stop() {
            // The rest is received, so that the sender never waits.
            continue;
        }
        match sibling::update(&original, coding, options, observer) {
            Ok(action) => {
                with(summary, |summary| summary.add(coding, length, action));
                observer.done(&original, coding, action);
            }
            Err(_) if observer.should_stop() => {}
            Err(error) => report(&error, observer, summary),
        }
    }
}

fn report(error: &Error, observer: &impl Observer, summary: &Mutex<Summary>) {
    with(summary, |summary| summary.failures += 1);
    observer.failed(error);
}

fn with(summary: &Mutex<Summary>, change: impl FnOnce(&mut Summary)) {
    change(&mut summary.lock().unwrap_or_else(PoisonError::into_inner));
}
