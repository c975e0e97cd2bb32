//! Worker threads that copy the files which the walking thread finds.
//!
//! A bounded queue connects them: the walk is never far ahead of the copies, so that few directories
//! are open at once.
//!
//! # Limitations
//!
//! A file is one job: a large file is copied by one thread.

use rustix::fs::FileType;
use std::ffi::CString;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use crate::context::Context;
use crate::directory::Directory;
use crate::error::Error;
use crate::summary::Summary;
use crate::{file, special_file};

/// The capacity of the queue, in files.
const QUEUE: usize = 64;

/// A file to be copied.
struct Job<'a> {
    directory: Arc<Directory>,
    from: CString,
    to: CString,
    /// Dropped last.
    _ticket: Ticket<'a>,
}

/// Counts the files that are queued or being copied.
#[derive(Default)]
struct InFlight {
    count: Mutex<usize>,
    none: Condvar,
}

impl InFlight {
    fn ticket(&self) -> Ticket<'_> {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Ticket(self)
    }

    fn wait(&self) {
        let count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let none = self.none.wait_while(count, |count| *count > 0);
        drop(none);
    }
}

/// A file in flight. Its drop counts also where a thread panics.
struct Ticket<'a>(&'a InFlight);

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut count = self.0.count.lock().unwrap_or_else(PoisonError::into_inner);
        *count -= 1;
        if *count == 0 {
            self.0.none.notify_all();
        }
    }
}

/// The walking thread's handle to the workers.
pub(crate) struct Workers<'a> {
    pub(crate) context: &'a Context<'a>,
    pub(crate) summary: Summary,
    /// `None` if the walking thread makes the copies, too.
    queue: Option<SyncSender<Job<'a>>>,
    in_flight: &'a InFlight,
}

/// Runs `walk` while the workers copy the files that it finds; returns the summary of all threads.
pub(crate) fn with_workers(context: &Context<'_>, walk: impl FnOnce(&mut Workers<'_>)) -> Summary {
    let in_flight = InFlight::default();
    let mut workers =
        Workers { context, summary: Summary::default(), queue: None, in_flight: &in_flight };
    if context.options.jobs.get() == 1 {
        walk(&mut workers);
        return workers.summary;
    }
    let (sender, receiver) = sync_channel(QUEUE);
    let receiver = Mutex::new(receiver);
    thread::scope(|scope| {
        let work = || work(&receiver, context);
        let start = |number| {
            let builder = thread::Builder::new().name(format!("karez-copy-{number}"));
            // If a thread cannot be made, fewer do the work.
            builder.spawn_scoped(scope, work).ok()
        };
        let threads: Vec<_> = (0..context.options.jobs.get()).filter_map(start).collect();
        workers.queue = (!threads.is_empty()).then_some(sender);
        walk(&mut workers);
        workers.queue = None;
        for thread in threads {
            match thread.join() {
                Ok(summary) => workers.summary.absorb(summary),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    workers.summary
}

fn work(queue: &Mutex<Receiver<Job<'_>>>, context: &Context<'_>) -> Summary {
    let mut summary = Summary::default();
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
    while let Ok(job) = next() {
        job.run(context, &mut summary);
    }
    summary
}

impl Job<'_> {
    fn run(self, context: &Context<'_>, summary: &mut Summary) {
        let Self { directory, from, to, _ticket } = self;
        let (source, sink) = (directory.source(&from), directory.sink(&to));
        let outcome = file::copy(source, sink, directory.is_new, context, summary);
        directory.remember_created(sink, &outcome, context);
        context.record(outcome, summary);
        directory.release(context, summary);
    }
}

impl Workers<'_> {
    /// Copies an entry that is not a directory: a regular file by a worker, any other at once.
    pub(crate) fn copy_entry(
        &mut self,
        directory: &Arc<Directory>,
        from: CString,
        to: CString,
        kind: FileType,
    ) {
        if !kind.is_file() {
            let (source, sink) = (directory.source(&from), directory.sink(&to));
            let outcome =
                special_file::copy(source, sink, directory.is_new, self.context, &mut self.summary);
            directory.remember_created(sink, &outcome, self.context);
            return self.record(outcome);
        }
        let ticket = self.in_flight.ticket();
        let job = Job { directory: Arc::clone(directory), from, to, _ticket: ticket };
        match &self.queue {
            // Cannot fail: the workers live longer than the queue.
            Some(queue) => drop(queue.send(job)),
            None => job.run(self.context, &mut self.summary),
        }
    }

    /// Waits until all files in flight are copied, and their directories have their attributes.
    pub(crate) fn wait_idle(&self) {
        self.in_flight.wait();
        self.context.written.forget();
    }

    pub(crate) fn release(&mut self, directory: Arc<Directory>) {
        directory.release(self.context, &mut self.summary);
    }

    pub(crate) fn record(&mut self, outcome: Result<(), Error>) {
        self.context.record(outcome, &mut self.summary);
    }
}
