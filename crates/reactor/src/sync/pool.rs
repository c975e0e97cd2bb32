//! Threads that do what may block: jobs in the order in which they came.
//!
//! Threads are made when there is work and nobody idle, up to a bound, and then stay. The queue
//! has no bound of its own: each connection has at most one thing to be done.
//!
//! What it does badly: when all its threads wait for one slow disk, jobs for other disks wait
//! behind them. A thread that is stuck in the kernel at the end is left behind.

#[cfg(all(test, loom))]
use loom::sync::{Condvar, Mutex, MutexGuard};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, PoisonError};
#[cfg(not(all(test, loom)))]
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread;

use crate::error::no_thread;

/// A bounded number of threads that do `W`. Dropping it lets them end when the queue is empty.
pub(crate) struct Pool<W> {
    shared: Arc<Shared<W>>,
    bound: usize,
    /// Where they may run, if that is not where the thread that makes them may.
    cores: Option<CpuSet>,
    perform: fn(W),
}

struct Shared<W> {
    state: Mutex<State<W>>,
    work: Condvar,
}

struct State<W> {
    queue: VecDeque<W>,
    threads: usize,
    idle: usize,
    over: bool,
}

impl<W: Send + 'static> Pool<W> {
    /// At least one thread is made at once, so that there is always somebody.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(crate) fn new(bound: usize, cores: Option<CpuSet>, perform: fn(W)) -> io::Result<Self> {
        let state = State { queue: VecDeque::new(), threads: 0, idle: 0, over: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), work: Condvar::new() });
        let pool = Self { shared, bound, cores, perform };
        pool.shared.lock().threads = 1;
        pool.spawn(0)?;
        Ok(pool)
    }

    /// Has it done, soon.
    pub(crate) fn submit(&self, work: W) {
        let mut state = self.shared.lock();
        state.queue.push_back(work);
        if state.queue.len() <= state.idle || state.threads >= self.bound {
            drop(state);
            self.shared.work.notify_one();
            return;
        }
        let number = state.threads;
        state.threads += 1;
        drop(state);
        if self.spawn(number).is_err() {
            // Those that there are will come to it.
            self.shared.lock().threads -= 1;
            self.shared.work.notify_one();
        }
    }

    fn spawn(&self, number: usize) -> io::Result<()> {
        let (shared, perform, cores) = (Arc::clone(&self.shared), self.perform, self.cores);
        let name = format!("karez-work-{number}");
        let thread = thread::Builder::new().name(name.clone());
        let spawned = thread.spawn(move || {
            if let Some(cores) = cores {
                // Else it stays on the core of the reactor that made it, which is only slower.
                let _moved = sched_setaffinity(None, &cores);
            }
            while let Some(work) = shared.next() {
                perform(work);
            }
        });
        spawned.map(drop).map_err(no_thread(name))
    }
}

impl<W> Shared<W> {
    fn next(&self) -> Option<W> {
        let mut state = self.lock();
        loop {
            if let Some(work) = state.queue.pop_front() {
                return Some(work);
            }
            if state.over {
                return None;
            }
            state.idle += 1;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    /// No code that could panic runs under the lock.
    fn lock(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};

    type Work = Box<dyn FnOnce() + Send>;

    fn pool(bound: usize) -> Pool<Work> {
        Pool::new(bound, None, |work: Work| work()).unwrap()
    }

    #[test]
    fn all_is_done_under_load_by_no_more_threads_than_allowed() {
        let (pool, (sender, done)) = (pool(3), channel());
        thread::scope(|scope| {
            for client in 0..4 {
                let (pool, sender) = (&pool, sender.clone());
                scope.spawn(move || {
                    for number in 0..5_000 {
                        let sender = sender.clone();
                        pool.submit(Box::new(move || sender.send((client, number)).unwrap()));
                        if number % 5 == 0 {
                            thread::yield_now(); // lets the threads fall asleep now and then
                        }
                    }
                });
            }
        });
        drop(sender);
        let mut all: Vec<_> = done.iter().take(20_000).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 20_000);
        assert!(pool.shared.lock().threads <= 3);
    }

    #[test]
    fn one_that_blocks_does_not_stop_the_others() {
        let (pool, (sender, done)) = (pool(2), channel());
        let (release, held) = channel::<()>();
        pool.submit(Box::new(move || held.recv().unwrap()));
        let tell = |sender: &Sender<_>| {
            let sender = sender.clone();
            Box::new(move || sender.send(()).unwrap())
        };
        for _ in 0..10 {
            pool.submit(tell(&sender));
            done.recv().unwrap();
        }
        release.send(()).unwrap();
    }

    #[test]
    fn what_was_submitted_is_done_though_the_pool_goes() {
        let (pool, (sender, done)) = (pool(1), channel());
        for number in 0..100 {
            let sender = sender.clone();
            pool.submit(Box::new(move || sender.send(number).unwrap()));
        }
        drop((pool, sender));
        assert_eq!(done.iter().collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
    }
}

#[cfg(test)]
#[cfg(loom)]
mod loom_tests {
    use super::*;
    use loom::thread;

    /// How many are done, and who waits for that.
    type Tally = Arc<(Mutex<usize>, Condvar)>;

    fn count(tally: Tally) {
        *tally.0.lock().unwrap() += 1;
        tally.1.notify_one();
    }

    /// Two threads, as many as may be, that sleep whenever they can, and two jobs, for which
    /// somebody waits before the pool goes: a lost wake-up is a deadlock, which loom finds.
    #[test]
    fn all_is_done_in_any_order() {
        loom::model(|| {
            let state = State { queue: VecDeque::new(), threads: 2, idle: 0, over: false };
            let shared = Arc::new(Shared { state: Mutex::new(state), work: Condvar::new() });
            let pool = Pool { shared: Arc::clone(&shared), bound: 2, cores: None, perform: count };
            let worker = |_| {
                let shared: Arc<Shared<Tally>> = Arc::clone(&shared);
                thread::spawn(move || {
                    while let Some(work) = shared.next() {
                        count(work);
                    }
                })
            };
            let workers: Vec<_> = (0..2).map(worker).collect();
            let tally = Tally::default();
            for _ in 0..2 {
                pool.submit(Arc::clone(&tally));
            }
            let mut done = tally.0.lock().unwrap();
            while *done < 2 {
                done = tally.1.wait(done).unwrap();
            }
            drop(done);
            drop(pool);
            for worker in workers {
                worker.join().unwrap();
            }
        });
    }
}
