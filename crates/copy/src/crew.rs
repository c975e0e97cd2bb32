//! Threads that copy the files which one thread finds.
//!
//! A bounded queue between them: whoever walks a tree is never far ahead, so that few directories
//! are open at once.
//!
//! What it does badly: one large file is one job, and occupies one thread however many there are.

use rustix::fs::FileType;
use std::ffi::CString;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use crate::account::Account;
use crate::directory::Directory;
use crate::error::Error;
use crate::run::Run;
use crate::{entry, file};

/// Files in the queue.
const QUEUE: usize = 64;

/// A file to be copied.
struct Job<'a> {
    directory: Arc<Directory>,
    from: CString,
    to: CString,
    /// The last to be dropped.
    _ticket: Ticket<'a>,
}

/// Counts the files in the queue and in the hands of threads.
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

/// One file in flight, also where a thread panics.
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

/// The thread that walks, and its way to the others.
pub(crate) struct Crew<'a> {
    pub(crate) run: &'a Run<'a>,
    pub(crate) account: Account,
    /// `None`: it copies, too.
    queue: Option<SyncSender<Job<'a>>>,
    in_flight: &'a InFlight,
}

/// Walks, while others copy what is found; what all of them did.
pub(crate) fn with_crew(run: &Run<'_>, walk: impl FnOnce(&mut Crew<'_>)) -> Account {
    let in_flight = InFlight::default();
    let mut crew = Crew { run, account: Account::default(), queue: None, in_flight: &in_flight };
    if run.options.jobs.get() == 1 {
        walk(&mut crew);
        return crew.account;
    }
    let (sender, receiver) = sync_channel(QUEUE);
    let receiver = Mutex::new(receiver);
    thread::scope(|scope| {
        let work = || work(&receiver, run);
        let start = |number| {
            let builder = thread::Builder::new().name(format!("karez-copy-{number}"));
            // Fewer do it, too.
            builder.spawn_scoped(scope, work).ok()
        };
        let workers: Vec<_> = (0..run.options.jobs.get()).filter_map(start).collect();
        crew.queue = (!workers.is_empty()).then_some(sender);
        walk(&mut crew);
        crew.queue = None;
        for worker in workers {
            match worker.join() {
                Ok(account) => crew.account.absorb(account),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    crew.account
}

fn work(queue: &Mutex<Receiver<Job<'_>>>, run: &Run<'_>) -> Account {
    let mut account = Account::default();
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
    while let Ok(job) = next() {
        job.perform(run, &mut account);
    }
    account
}

impl Job<'_> {
    fn perform(self, run: &Run<'_>, account: &mut Account) {
        let Self { directory, from, to, _ticket } = self;
        let (source, sink) = (directory.source(&from), directory.sink(&to));
        let outcome = file::copy(source, sink, directory.is_new, run, account);
        directory.entered(sink, &outcome, run);
        run.settle(outcome, account);
        directory.leave(run, account);
    }
}

impl Crew<'_> {
    /// Copies what is no directory: a file by whoever has time, anything else at once.
    pub(crate) fn entry(
        &mut self,
        directory: &Arc<Directory>,
        from: CString,
        to: CString,
        kind: FileType,
    ) {
        if !kind.is_file() {
            let (source, sink) = (directory.source(&from), directory.sink(&to));
            let outcome = entry::copy(source, sink, directory.is_new, self.run, &mut self.account);
            directory.entered(sink, &outcome, self.run);
            return self.settle(outcome);
        }
        let ticket = self.in_flight.ticket();
        let job = Job { directory: Arc::clone(directory), from, to, _ticket: ticket };
        match &self.queue {
            // The workers end after the queue does.
            Some(queue) => drop(queue.send(job)),
            None => job.perform(self.run, &mut self.account),
        }
    }

    /// Waits until all files that were found are copied, and their directories have their
    /// attributes.
    pub(crate) fn wait(&self) {
        self.in_flight.wait();
        self.run.written.forget();
    }

    pub(crate) fn leave(&mut self, directory: Arc<Directory>) {
        directory.leave(self.run, &mut self.account);
    }

    pub(crate) fn settle(&mut self, outcome: Result<(), Error>) {
        self.run.settle(outcome, &mut self.account);
    }
}
