//! A device that hangs, overdue threads, bounds and abandoned work.

use super::queues::{DEVICES, WAITING};
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
    // The first holds the lock; each of the rest reports its start and waits for the lock.
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
