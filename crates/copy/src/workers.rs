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
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use crate::context::Context;
use crate::directory::Directory;
use crate::error::Error;
use crate::queue::Queue;
use crate::summary::Summary;
use crate::{file, special_file};

/// A file to be copied.
struct Job {
    directory: Arc<Directory>,
    from: CString,
    to: CString,
    /// Dropped last.
    _ticket: Ticket,
}

/// Counts the files that are queued or being copied.
#[derive(Default)]
struct InFlight {
    count: AtomicUsize,
    /// A thread waits: else the last ticket notifies nothing, which would be a system call for each file
    /// that is copied alone.
    waiting: AtomicBool,
    /// Held by the last ticket while it notifies, and by the thread that waits.
    lock: Mutex<()>,
    none: Condvar,
}

impl InFlight {
    fn ticket(self: &Arc<Self>) -> Ticket {
        self.count.fetch_add(1, Ordering::Relaxed);
        Ticket(Arc::clone(self))
    }

    fn wait(&self) {
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        // Sequentially consistent, as in `Ticket::drop`: one of the two sees the store of the other.
        self.waiting.store(true, Ordering::SeqCst);
        let none = self.none.wait_while(lock, |()| self.count.load(Ordering::SeqCst) > 0);
        self.waiting.store(false, Ordering::SeqCst);
        drop(none);
    }
}

/// A file in flight. Its drop counts also where a thread panics.
struct Ticket(Arc<InFlight>);

impl Drop for Ticket {
    fn drop(&mut self) {
        let is_last = self.0.count.fetch_sub(1, Ordering::SeqCst) == 1;
        if is_last && self.0.waiting.load(Ordering::SeqCst) {
            let lock = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.0.none.notify_all();
            drop(lock);
        }
    }
}

/// The walking thread's handle to the workers.
pub(crate) struct Workers<'a> {
    pub(crate) context: &'a Context<'a>,
    pub(crate) summary: Summary,
    /// `None` if the walking thread makes the copies, too.
    queue: Option<&'a Queue<Job>>,
    in_flight: Arc<InFlight>,
}

/// Runs `walk` while the workers copy the files that it finds; returns the summary of all threads.
pub(crate) fn with_workers(context: &Context<'_>, walk: impl FnOnce(&mut Workers<'_>)) -> Summary {
    let (queue, in_flight) = (Queue::new(), Arc::default());
    let mut workers = Workers { context, summary: Summary::default(), queue: None, in_flight };
    if context.options.jobs.get() == 1 {
        walk(&mut workers);
        return workers.summary;
    }
    thread::scope(|scope| {
        let work = || work(&queue, context);
        let start = |number| {
            let builder = thread::Builder::new().name(format!("karez-copy-{number}"));
            // If a thread cannot be made, fewer do the work.
            builder.spawn_scoped(scope, work).ok()
        };
        let threads: Vec<_> = (0..context.options.jobs.get()).filter_map(start).collect();
        let closing = ClosesWhenDropped(&queue);
        workers.queue = (!threads.is_empty()).then_some(&queue);
        walk(&mut workers);
        drop(closing);
        for thread in threads {
            match thread.join() {
                Ok(summary) => workers.summary.absorb(summary),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    workers.summary
}

/// Ends the workers also where the walk panics.
struct ClosesWhenDropped<'a>(&'a Queue<Job>);

impl Drop for ClosesWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

fn work(queue: &Queue<Job>, context: &Context<'_>) -> Summary {
    let mut summary = Summary::default();
    while let Some(job) = queue.pop() {
        job.run(context, &mut summary);
    }
    summary
}

impl Job {
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
            Some(queue) => queue.push(job),
            None => job.run(self.context, &mut self.summary),
        }
    }

    /// Waits until all files in flight are copied, and their directories have their attributes.
    pub(crate) fn wait_idle(&self) {
        self.flush();
        self.in_flight.wait();
        self.context.written.forget();
    }

    /// Lets the workers begin with all files that were found, before the walk waits for something else.
    pub(crate) fn flush(&self) {
        if let Some(queue) = self.queue {
            queue.flush();
        }
    }

    pub(crate) fn release(&mut self, directory: Arc<Directory>) {
        directory.release(self.context, &mut self.summary);
    }

    pub(crate) fn record(&mut self, outcome: Result<(), Error>) {
        self.context.record(outcome, &mut self.summary);
    }
}
