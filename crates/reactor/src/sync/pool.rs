//! The worker pool: threads for calls that may block, for each device in the order of submission.
//!
//! A bulkhead: each device has a queue and at most `bound` threads at a time, so a device that hangs
//! does not delay the jobs of another. All devices together have at most [`queues::DEVICES`] times as many
//! threads; a thread whose job is past its deadline no longer counts. Threads are made when there is
//! work and none is idle; more than `bound` idle ones end.
//!
//! # Limitations
//!
//! A system call that hangs cannot be interrupted: its thread is lost until it returns, and one that
//! is stuck in the kernel when the process ends is not joined. Where more than [`queues::DEVICES`] devices hang at once,
//! the next device waits until the deadlines of their jobs have passed.

use karez_transfer::Device;
#[cfg(all(test, loom))]
use loom::sync::{Condvar, Mutex, MutexGuard};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::io;
use std::sync::{Arc, PoisonError};
#[cfg(not(all(test, loom)))]
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Instant;

use queues::DeviceQueues;
pub(crate) use queues::Ticket;

use crate::error::no_thread;

mod queues;

/// Threads that run work, a bounded number for each device. After it is dropped they end when the queues
/// are empty.
pub(crate) struct Pool<W> {
    shared: Arc<PoolShared<W>>,
    /// The cores on which they may run, if these are not the cores of the thread that makes them.
    cores: Option<CpuSet>,
    run: fn(W),
}

/// Whether work may be rejected.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admit {
    /// It is rejected if too much work waits for its device, or if its device hangs.
    Bounded,
    /// It is always accepted.
    Always,
}

struct PoolShared<W> {
    queues: Mutex<DeviceQueues<W>>,
    work: Condvar,
    bound: usize,
}

impl<W: Send + 'static> Pool<W> {
    /// Returns a pool without threads: the first is made when there is work.
    pub(crate) fn new(bound: usize, cores: Option<CpuSet>, run: fn(W)) -> Self {
        let shared =
            PoolShared { queues: Mutex::new(DeviceQueues::new()), work: Condvar::new(), bound };
        Self { shared: Arc::new(shared), cores, run }
    }

    /// Starts the first thread, so that an error is reported at the start.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(crate) fn start(&self) -> io::Result<()> {
        self.shared.lock().threads += 1;
        self.spawn(0).inspect_err(|_| self.shared.lock().threads -= 1)
    }

    /// Queues work, which is overdue at `until`.
    ///
    /// # Errors
    /// The work itself, if it may be rejected and its device hangs or has too much work already, or
    /// if no thread can be made.
    pub(crate) fn submit(
        &self,
        device: Device,
        until: Instant,
        admit: Admit,
        work: W,
    ) -> Result<Ticket, W> {
        let device = device.number;
        let mut queues = self.shared.lock();
        let bound = self.shared.bound;
        if admit == Admit::Bounded && queues.rejects(device, bound) {
            return Err(work);
        }
        let ticket = queues.push(device, until, work, bound);
        if !queues.lacks_thread(bound) {
            drop(queues);
            self.shared.work.notify_one();
            return Ok(ticket);
        }
        let thread = queues.threads;
        queues.threads += 1;
        drop(queues);
        if self.spawn(thread).is_ok() {
            return Ok(ticket);
        }
        let mut queues = self.shared.lock();
        queues.threads -= 1;
        if queues.threads > 0 {
            // A thread that exists takes it later.
            self.shared.work.notify_one();
            return Ok(ticket);
        }
        queues.dequeue(ticket).map_or(Ok(ticket), Err)
    }

    /// Drops work that has not been started: its result is not wanted any more.
    pub(crate) fn abandon(&self, ticket: Ticket) {
        let dequeued = self.shared.lock().dequeue(ticket);
        drop(dequeued); // without the lock
    }

    fn spawn(&self, number: usize) -> io::Result<()> {
        let (shared, run, cores) = (Arc::clone(&self.shared), self.run, self.cores);
        let name = format!("karez-work-{number}");
        let thread = thread::Builder::new().name(name.clone());
        let spawned = thread.spawn(move || {
            if let Some(cores) = cores {
                // On an error it stays on the core of the reactor that made it, which is only slower.
                let _moved = sched_setaffinity(None, &cores);
            }
            let mut done = None;
            while let Some((ticket, work)) = shared.next(done) {
                run(work);
                done = Some(ticket);
            }
        });
        spawned.map(drop).map_err(no_thread(name))
    }
}

#[cfg(feature = "simulation")]
impl<W> Pool<W> {
    /// Returns a pool whose work the caller [begins](Self::begin_next), as up to `bound` threads for each device
    /// would.
    pub(crate) fn without_threads(bound: usize, run: fn(W)) -> Self {
        let mut queues = DeviceQueues::new();
        queues.threads = usize::MAX;
        let shared = PoolShared { queues: Mutex::new(queues), work: Condvar::new(), bound };
        Self { shared: Arc::new(shared), cores: None, run }
    }

    /// Takes the next work that a thread would begin.
    pub(crate) fn begin_next(&self) -> Option<(Ticket, W)> {
        self.shared.lock().start_next(self.shared.bound)
    }

    /// Notes that work has been run.
    pub(crate) fn end(&self, done: Ticket) {
        self.shared.lock().finish(done, self.shared.bound);
    }
}

impl<W> PoolShared<W> {
    /// Returns the next work for a thread that has `done` another; `None` if the thread has to end.
    fn next(&self, done: Option<Ticket>) -> Option<(Ticket, W)> {
        let mut queues = self.lock();
        if let Some(done) = done {
            queues.finish(done, self.bound);
        }
        loop {
            if let Some(begun) = queues.start_next(self.bound) {
                return Some(begun);
            }
            if queues.over || queues.idle >= self.bound {
                queues.threads -= 1;
                return None;
            }
            queues.idle += 1;
            queues = self.work.wait(queues).unwrap_or_else(PoisonError::into_inner);
            queues.idle -= 1;
        }
    }

    /// No code that could panic runs under the lock.
    fn lock(&self) -> MutexGuard<'_, DeviceQueues<W>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W> Drop for Pool<W> {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.work.notify_all();
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;

#[cfg(test)]
#[cfg(loom)]
mod loom_tests;
