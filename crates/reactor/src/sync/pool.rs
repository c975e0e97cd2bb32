//! Threads that do what may block: for each device its jobs in the order in which they came.
//!
//! A bulkhead: each device has a queue and at most `bound` threads at a time, so jobs of a device that
//! hangs hold up no other device's. All devices together have at most [`DEVICES`] times as many
//! threads; a thread whose job is past its deadline no longer counts. Threads are made when there is
//! work and none is idle; more than `bound` idle ones end.
//!
//! # Limitations
//!
//! A system call that hangs cannot be interrupted: its thread is lost until it returns, and one that
//! is stuck in the kernel at the end is left behind. Where more than [`DEVICES`] devices hang at once,
//! the next device waits until the deadlines of their jobs have passed.

use karez_transfer::Device;
#[cfg(all(test, loom))]
use loom::sync::{Condvar, Mutex, MutexGuard};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, PoisonError};
#[cfg(not(all(test, loom)))]
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Instant;

use crate::error::no_thread;

/// How many devices may have all their threads at the same time.
const DEVICES: usize = 4;

/// Jobs that may wait for one device, for each of its threads. Page-ins are not bounded here: each
/// is of a connection whose own deadline ends it.
const WAITING: usize = 64;

/// Threads that do `W`, a bounded number for each device. Dropping it lets them end when the queues
/// are empty.
pub(crate) struct Pool<W> {
    shared: Arc<Shared<W>>,
    /// Where they may run, if that is not where the thread that makes them may.
    cores: Option<CpuSet>,
    perform: fn(W),
}

/// Work that was submitted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    device: u64,
    number: u64,
}

/// Whether work may be rejected.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admit {
    /// Not if too much waits for its device, nor if its device hangs.
    Bounded,
    /// Always.
    Always,
}

struct Shared<W> {
    state: Mutex<State<W>>,
    work: Condvar,
    bound: usize,
}

struct State<W> {
    lanes: HashMap<u64, Lane<W>>,
    /// Devices that have work and a thread to spare, in the order of their turns.
    turns: VecDeque<u64>,
    threads: usize,
    idle: usize,
    /// Threads that are at work.
    busy: usize,
    next: u64,
    over: bool,
}

/// The work of one device.
struct Lane<W> {
    queue: VecDeque<Queued<W>>,
    /// The numbers and deadlines of what runs.
    running: Vec<(u64, Instant)>,
    has_turn: bool,
}

struct Queued<W> {
    number: u64,
    until: Instant,
    work: W,
}

impl<W: Send + 'static> Pool<W> {
    /// No thread is made before there is work.
    pub(crate) fn new(bound: usize, cores: Option<CpuSet>, perform: fn(W)) -> Self {
        let shared = Shared { state: Mutex::new(State::new()), work: Condvar::new(), bound };
        Self { shared: Arc::new(shared), cores, perform }
    }

    /// Makes the first thread, so that a lack of threads is found out at the start.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(crate) fn start(&self) -> io::Result<()> {
        self.shared.lock().threads += 1;
        self.spawn(0).inspect_err(|_| self.shared.lock().threads -= 1)
    }

    /// Has it done, soon. It is overdue at `until`.
    ///
    /// # Errors
    /// The work itself, if it may be rejected and its device hangs or has too much to do already, or
    /// if there is no thread to be had.
    pub(crate) fn submit(
        &self,
        device: Device,
        until: Instant,
        admit: Admit,
        work: W,
    ) -> Result<Ticket, W> {
        let device = device.number;
        let mut state = self.shared.lock();
        let bound = self.shared.bound;
        if admit == Admit::Bounded && state.rejects(device, bound) {
            return Err(work);
        }
        let number = state.next;
        state.next += 1;
        state.lane(device).queue.push_back(Queued { number, until, work });
        state.give_turn(device, bound);
        let ticket = Ticket { device, number };
        if !state.lacks_thread(bound) {
            drop(state);
            self.shared.work.notify_one();
            return Ok(ticket);
        }
        let thread = state.threads;
        state.threads += 1;
        drop(state);
        if self.spawn(thread).is_ok() {
            return Ok(ticket);
        }
        let mut state = self.shared.lock();
        state.threads -= 1;
        if state.threads > 0 {
            // Those that there are will come to it.
            self.shared.work.notify_one();
            return Ok(ticket);
        }
        state.dequeue(ticket).map_or(Ok(ticket), Err)
    }

    /// The result is not wanted any more: drops the work if it has not begun.
    pub(crate) fn abandon(&self, ticket: Ticket) {
        let dequeued = self.shared.lock().dequeue(ticket);
        drop(dequeued); // without the lock
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
            let mut done = None;
            while let Some((ticket, work)) = shared.next(done) {
                perform(work);
                done = Some(ticket);
            }
        });
        spawned.map(drop).map_err(no_thread(name))
    }
}

impl<W> Shared<W> {
    /// The next work for a thread that has `done` another; `None` if the thread has to end.
    fn next(&self, done: Option<Ticket>) -> Option<(Ticket, W)> {
        let mut state = self.lock();
        if let Some(done) = done {
            state.finish(done, self.bound);
        }
        loop {
            if let Some(begun) = state.begin(self.bound) {
                return Some(begun);
            }
            if state.over || state.idle >= self.bound {
                state.threads -= 1;
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

impl<W> State<W> {
    fn new() -> Self {
        let (lanes, turns) = (HashMap::new(), VecDeque::new());
        Self { lanes, turns, threads: 0, idle: 0, busy: 0, next: 0, over: false }
    }

    fn lane(&mut self, device: u64) -> &mut Lane<W> {
        self.lanes.entry(device).or_insert_with(|| Lane {
            queue: VecDeque::new(),
            running: Vec::new(),
            has_turn: false,
        })
    }

    /// Whether a device hangs (all its threads are past the deadlines of their work), or too much
    /// waits for it.
    fn rejects(&self, device: u64, bound: usize) -> bool {
        let Some(lane) = self.lanes.get(&device) else { return false };
        let hangs = lane.running.len() >= bound && lane.overdue(Instant::now()) >= bound;
        hangs || lane.queue.len() >= bound.saturating_mul(WAITING)
    }

    /// Puts a device in the row of those that have work and a thread to spare.
    fn give_turn(&mut self, device: u64, bound: usize) {
        if let Some(lane) = self.lanes.get_mut(&device)
            && !lane.has_turn
            && lane.runnable(bound) > 0
        {
            lane.has_turn = true;
            self.turns.push_back(device);
        }
    }

    /// Whether there is work for one more thread, and it may be made.
    fn lacks_thread(&self, bound: usize) -> bool {
        let runnable: usize = self.lanes.values().map(|lane| lane.runnable(bound)).sum();
        if runnable <= self.threads - self.busy {
            return false;
        }
        let most = bound.saturating_mul(DEVICES);
        self.threads < most || {
            let now = Instant::now();
            let overdue: usize = self.lanes.values().map(|lane| lane.overdue(now)).sum();
            self.threads - overdue < most
        }
    }

    fn begin(&mut self, bound: usize) -> Option<(Ticket, W)> {
        while let Some(device) = self.turns.pop_front() {
            let Some(lane) = self.lanes.get_mut(&device) else { continue };
            lane.has_turn = false;
            let Some(Queued { number, until, work }) = lane.queue.pop_front() else {
                self.forget(device); // all was dequeued
                continue;
            };
            lane.running.push((number, until));
            self.busy += 1;
            self.give_turn(device, bound);
            return Some((Ticket { device, number }, work));
        }
        None
    }

    fn finish(&mut self, Ticket { device, number }: Ticket, bound: usize) {
        self.busy -= 1;
        if let Some(lane) = self.lanes.get_mut(&device) {
            lane.running.retain(|running| running.0 != number);
        }
        self.give_turn(device, bound);
        self.forget(device);
    }

    fn dequeue(&mut self, Ticket { device, number }: Ticket) -> Option<W> {
        let queue = &mut self.lanes.get_mut(&device)?.queue;
        let place = queue.iter().position(|queued| queued.number == number)?;
        let work = queue.remove(place)?.work;
        self.forget(device);
        Some(work)
    }

    /// Forgets a device that has nothing to do. A turn that it may still have is passed over.
    fn forget(&mut self, device: u64) {
        if self.lanes.get(&device).is_some_and(|lane| lane.is_empty() && !lane.has_turn) {
            self.lanes.remove(&device);
        }
    }
}

impl<W> Lane<W> {
    fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.running.is_empty()
    }

    /// How much of its work could begin now.
    fn runnable(&self, bound: usize) -> usize {
        self.queue.len().min(bound.saturating_sub(self.running.len()))
    }

    /// How many of its threads are past the deadlines of their work.
    fn overdue(&self, now: Instant) -> usize {
        self.running.iter().filter(|(_, until)| *until <= now).count()
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
    use std::time::Duration;

    type Work = Box<dyn FnOnce() + Send>;

    fn pool(bound: usize) -> Pool<Work> {
        Pool::new(bound, None, |work: Work| work())
    }

    fn device(number: u64) -> Device {
        Device { number, remote: false }
    }

    impl Pool<Work> {
        fn submit_all(&self, work: impl FnOnce() + Send + 'static) {
            let submitted = self.submit(device(1), Instant::now(), Admit::Always, Box::new(work));
            assert!(submitted.is_ok());
        }

        fn run(&self, on: u64, work: impl FnOnce() + Send + 'static) -> Option<Ticket> {
            let until = Instant::now() + Duration::from_secs(3600);
            self.submit(device(on), until, Admit::Bounded, Box::new(work)).ok()
        }
    }

    /// Occupies all threads of a device until the sender is dropped, and says so when it does.
    fn hang(pool: &Pool<Work>, on: u64, until: Instant) -> Sender<()> {
        let (release, held) = channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let (begun, begins) = channel();
        for _ in 0..pool.shared.bound {
            let (held, begun) = (Arc::clone(&held), begun.clone());
            let work = Box::new(move || {
                begun.send(()).unwrap();
                let _released = held.lock().unwrap().recv();
            });
            assert!(pool.submit(device(on), until, Admit::Bounded, work).is_ok());
        }
        // The lock is held by the first, so the others say that they begin and wait for that.
        assert_eq!(begins.iter().take(pool.shared.bound).count(), pool.shared.bound);
        release
    }

    #[test]
    fn a_device_that_hangs_holds_up_no_other() {
        let pool = pool(2);
        let far = Instant::now() + Duration::from_secs(3600);
        let held: Vec<_> = (0..DEVICES as u64 - 1).map(|on| hang(&pool, on, far)).collect();
        let (sender, done) = channel();
        for number in 0..100 {
            let sender = sender.clone();
            pool.run(99, move || sender.send(number).unwrap()).unwrap();
        }
        assert_eq!(done.iter().take(100).count(), 100);
        drop(held);
    }

    #[test]
    fn overdue_threads_are_replaced() {
        let pool = pool(1);
        let held: Vec<_> = (0..10).map(|on| hang(&pool, on, Instant::now())).collect();
        let (sender, done) = channel();
        pool.run(99, move || sender.send(()).unwrap()).unwrap();
        done.recv().unwrap();
        drop(held);
    }

    #[test]
    fn a_device_whose_threads_are_all_overdue_rejects_jobs_until_one_returns() {
        let pool = pool(2);
        let held = hang(&pool, 1, Instant::now());
        assert!(pool.run(1, || {}).is_none());
        let page_in = pool.submit(device(1), Instant::now(), Admit::Always, Box::new(|| {}));
        assert!(page_in.is_ok(), "a page-in may wait");
        assert!(pool.run(2, || {}).is_some());
        drop(held);
        let (sender, done) = channel();
        loop {
            let sender = sender.clone();
            if pool.run(1, move || sender.send(()).unwrap()).is_some() {
                break done.recv().unwrap();
            }
            thread::yield_now();
        }
    }

    #[test]
    fn waiting_jobs_are_bounded_and_abandoned_ones_make_room() {
        let pool = pool(1);
        let far = Instant::now() + Duration::from_secs(3600);
        let held = hang(&pool, 1, far);
        let (sender, done) = channel();
        let tickets: Vec<_> = (0..WAITING)
            .map(|number| {
                let sender = sender.clone();
                pool.run(1, move || sender.send(number).unwrap()).unwrap()
            })
            .collect();
        assert!(pool.run(1, || {}).is_none(), "as many as may wait");
        pool.abandon(tickets[0]);
        let last = sender.clone();
        pool.run(1, move || last.send(WAITING).unwrap()).unwrap();
        drop((held, sender));
        assert!(done.iter().take(WAITING).eq(1..=WAITING), "the abandoned one is not run");
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
                        pool.submit_all(move || sender.send((client, number)).unwrap());
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
        pool.run(1, move || held.recv().unwrap()).unwrap();
        let tell = |sender: &Sender<_>| {
            let sender = sender.clone();
            move || sender.send(()).unwrap()
        };
        for _ in 0..10 {
            pool.run(1, tell(&sender)).unwrap();
            done.recv().unwrap();
        }
        release.send(()).unwrap();
    }

    #[test]
    fn what_was_submitted_is_done_though_the_pool_goes() {
        let (pool, (sender, done)) = (pool(1), channel());
        for number in 0..100 {
            let sender = sender.clone();
            pool.submit_all(move || sender.send(number).unwrap());
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
            let state = State { threads: 2, ..State::new() };
            let (state, work) = (Mutex::new(state), Condvar::new());
            let shared = Arc::new(Shared { state, work, bound: 2 });
            let pool = Pool { shared: Arc::clone(&shared), cores: None, perform: count };
            let worker = |_| {
                let shared: Arc<Shared<Tally>> = Arc::clone(&shared);
                thread::spawn(move || {
                    let mut done = None;
                    while let Some((ticket, work)) = shared.next(done) {
                        count(work);
                        done = Some(ticket);
                    }
                })
            };
            let workers: Vec<_> = (0..2).map(worker).collect();
            let tally = Tally::default();
            for _ in 0..2 {
                let device = Device::default();
                let until = Instant::now();
                pool.submit(device, until, Admit::Always, Arc::clone(&tally)).ok().unwrap();
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
