//! Threads that walk and copy: each copies a file that the walk has found, or goes on with the walk where few are left.
//!
//! The walk is never far ahead of the copies, so that few directories are open at once.
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
use crate::queue::{Found, Queue};
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

/// One thread that copies, and its part of the summary.
pub(crate) struct Workers<'a> {
    pub(crate) context: &'a Context<'a>,
    pub(crate) summary: Summary,
    /// `None` if there is one thread, which copies each file where the walk finds it.
    found: Option<&'a Found<Job>>,
    in_flight: Arc<InFlight>,
}

/// Calls `walk` until it returns false, by one thread at a time, while the others copy the files that it finds.
/// Returns the summary of all threads.
pub(crate) fn with_workers(
    context: &Context<'_>,
    mut walk: impl FnMut(&mut Workers<'_>) -> bool + Send,
) -> Summary {
    let in_flight = Arc::default();
    let mut worker = Workers { context, summary: Summary::default(), found: None, in_flight };
    if context.options.jobs.get() == 1 {
        while walk(&mut worker) {}
        return worker.summary;
    }
    let queue = Queue::new(walk);
    thread::scope(|scope| {
        let (queue, in_flight) = (&queue, &worker.in_flight);
        let new = || Workers {
            context,
            summary: Summary::default(),
            found: Some(&queue.found),
            in_flight: Arc::clone(in_flight),
        };
        let start = |number| {
            let builder = thread::Builder::new().name(format!("karez-copy-{number}"));
            let worker = new();
            // If a thread cannot be made, fewer do the work.
            builder.spawn_scoped(scope, move || worker.work(queue)).ok()
        };
        let threads: Vec<_> = (1..context.options.jobs.get()).filter_map(start).collect();
        let mut summary = new().work(queue);
        for thread in threads {
            match thread.join() {
                Ok(other) => summary.absorb(other),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        summary
    })
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
    /// Walks and copies until the end of the walk.
    fn work(mut self, queue: &Queue<Job, impl FnMut(&mut Workers<'_>) -> bool>) -> Summary {
        while let Some(job) = queue.next(|walk| walk(&mut self)) {
            job.run(self.context, &mut self.summary);
        }
        self.summary
    }

    /// Copies an entry that is not a directory: a regular file later, by any thread, any other at once.
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
        match self.found {
            Some(found) => found.push(job),
            None => job.run(self.context, &mut self.summary),
        }
    }

    /// Copies the files that were found, and waits until the other threads have copied theirs, and the directories
    /// have their attributes.
    pub(crate) fn wait_idle(&mut self) {
        while let Some(job) = self.found.and_then(Found::pop) {
            job.run(self.context, &mut self.summary);
        }
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
