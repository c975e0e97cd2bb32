//! A bounded queue from one thread to several, which wakes few threads: a wake-up costs more than the copy of a small file.
//!
//! The consumers that sleep are woken when [`FEW`] items wait, the producer when half of the queue is free: so there is a
//! wake-up for several items, and none while both sides are busy. Consumers take one item at a time, since it may
//! take long.
//!
//! # Limitations
//!
//! Items fewer than that wait until [`Queue::flush`].

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The capacity, in items.
const CAPACITY: usize = 64;

/// So many items are worth a wake-up.
const FEW: usize = 8;

/// The queue. It is open until [`close`](Queue::close).
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    items: Condvar,
    room: Condvar,
}

struct State<T> {
    items: VecDeque<T>,
    /// How many consumers sleep, and whether the producer does.
    sleeping: usize,
    full: bool,
    closed: bool,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        let items = VecDeque::with_capacity(CAPACITY);
        let state = Mutex::new(State { items, sleeping: 0, full: false, closed: false });
        Self { state, items: Condvar::new(), room: Condvar::new() }
    }

    /// Adds an item; waits where the queue is full. Only one thread may call it.
    pub(crate) fn push(&self, item: T) {
        let mut state = self.lock();
        if state.items.len() == CAPACITY {
            state.full = true;
            let full = |state: &mut State<T>| state.full;
            state = self.room.wait_while(state, full).unwrap_or_else(PoisonError::into_inner);
        }
        state.items.push_back(item);
        let wakes = state.sleeping > 0 && state.items.len().is_multiple_of(FEW);
        drop(state);
        if wakes {
            self.items.notify_one();
        }
    }

    /// Takes the next item; waits for one. `None` if the queue is closed and empty.
    pub(crate) fn pop(&self) -> Option<T> {
        let mut state = self.lock();
        while state.items.is_empty() {
            if state.closed {
                return None;
            }
            state.sleeping += 1;
            state = self.items.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.sleeping -= 1;
        }
        let item = state.items.pop_front();
        let wakes = state.full && state.items.len() <= CAPACITY / 2;
        state.full &= !wakes;
        drop(state);
        if wakes {
            self.room.notify_one();
        }
        item
    }

    /// Wakes the consumers for the items that wait.
    pub(crate) fn flush(&self) {
        let state = self.lock();
        let wakes = state.sleeping > 0 && !state.items.is_empty();
        drop(state);
        if wakes {
            self.items.notify_all();
        }
    }

    /// Ends the consumers, when they have taken all items.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.items.notify_all();
    }

    /// No code that could panic runs under the lock.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    /// Passes so many items, and flushes behind each `flush` of them. Returns the sum of the items that arrived.
    fn pass(count: usize, consumers: usize, flush: usize) -> usize {
        let (queue, sum) = (Queue::new(), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..consumers {
                scope.spawn(|| {
                    while let Some(item) = queue.pop() {
                        sum.fetch_add(item, Ordering::Relaxed);
                    }
                });
            }
            for item in 1..=count {
                queue.push(item);
                if item % flush == 0 {
                    queue.flush();
                }
            }
            queue.close();
        });
        sum.into_inner()
    }

    #[test]
    fn every_item_arrives_once() {
        for count in [0, 1, FEW - 1, FEW, CAPACITY, CAPACITY + 1, 10_000] {
            for (consumers, flush) in [(1, usize::MAX), (2, 3), (5, 1), (3, 100)] {
                let sum = count * (count + 1) / 2;
                assert_eq!(pass(count, consumers, flush), sum, "{count}, {consumers}, {flush}");
            }
        }
    }

    #[test]
    fn a_flush_delivers_few_items() {
        let (queue, arrived) = (Queue::new(), AtomicUsize::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                while queue.pop().is_some() {
                    arrived.fetch_add(1, Ordering::Release);
                }
            });
            for count in 1..=50 {
                queue.push(());
                queue.flush();
                while arrived.load(Ordering::Acquire) < count {
                    thread::yield_now();
                }
            }
            queue.close();
        });
    }
}
