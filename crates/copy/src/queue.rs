//! Items for several threads, found by whichever of them has time: there is no thread that only searches.
//!
//! A thread that finds few items waiting searches for more, unless another one does, and then goes on with an
//! item. So there are no more threads than asked for, none is woken while items wait, and the search continues
//! while another thread has an item that takes long. A thread sleeps only where there is no item and
//! another one searches: in the lock of the search, which costs a wake-up.
//!
//! # Limitations
//!
//! A thread that searches on a slow disk does not process items meanwhile.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// With fewer items than that a thread searches for more, up to `MANY`.
const FEW: usize = 16;
const MANY: usize = 64;

/// The items that were found.
pub(crate) struct Found<T>(Mutex<VecDeque<T>>);

impl<T> Found<T> {
    pub(crate) fn push(&self, item: T) {
        self.lock().push_back(item);
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.lock().pop_front()
    }

    fn count(&self) -> usize {
        self.lock().len()
    }

    /// No code that could panic runs under the lock.
    fn lock(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The items and the search for more.
pub(crate) struct Queue<T, S> {
    pub(crate) found: Found<T>,
    search: Mutex<Search<S>>,
    /// How many threads sleep in the lock of the search.
    waiting: AtomicUsize,
}

struct Search<S> {
    step: S,
    has_ended: bool,
}

impl<T, S> Queue<T, S> {
    /// `step` is for the calls of [`next`](Self::next).
    pub(crate) fn new(step: S) -> Self {
        Self {
            found: Found(Mutex::new(VecDeque::with_capacity(MANY))),
            search: Mutex::new(Search { step, has_ended: false }),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Returns the next item; `None` at the end of the search. `search` calls `step`, which adds at most a few items
    /// to those found, and returns whether it may find more. One thread at a time calls it.
    pub(crate) fn next(&self, mut search: impl FnMut(&mut S) -> bool) -> Option<T> {
        let mut locked = if self.found.count() < FEW { self.search.try_lock().ok() } else { None };
        loop {
            if let Some(Search { step, has_ended }) = locked.as_deref_mut() {
                while !*has_ended && !self.has_enough() {
                    *has_ended = !search(step);
                }
            }
            if let Some(item) = self.found.pop() {
                return Some(item);
            }
            match &locked {
                Some(search) if search.has_ended => return None,
                Some(_) => {}
                None => locked = Some(self.lock()),
            }
        }
    }

    /// Returns whether there are items for all threads that wait, and for this one.
    fn has_enough(&self) -> bool {
        let waiting = self.waiting.load(Ordering::Relaxed);
        self.found.count() >= if waiting == 0 { MANY } else { waiting + 1 }
    }

    /// Waits for the search. One that panicked has ended.
    fn lock(&self) -> MutexGuard<'_, Search<S>> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let locked = self.search.lock();
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        locked.unwrap_or_else(|poisoned| {
            let mut search = poisoned.into_inner();
            search.has_ended = true;
            search
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::RangeInclusive;
    use std::sync::Barrier;
    use std::thread;

    type Numbers = Queue<usize, RangeInclusive<usize>>;

    fn next(queue: &Numbers) -> Option<usize> {
        queue.next(|numbers| numbers.next().inspect(|&number| queue.found.push(number)).is_some())
    }

    #[test]
    fn every_item_arrives_once() {
        for count in [0, 1, FEW - 1, FEW, MANY, MANY + 1, 10_000] {
            for threads in [1, 2, 5] {
                let (queue, sum) = (Numbers::new(1..=count), AtomicUsize::new(0));
                thread::scope(|scope| {
                    for _ in 0..threads {
                        scope.spawn(|| {
                            while let Some(number) = next(&queue) {
                                sum.fetch_add(number, Ordering::Relaxed);
                            }
                        });
                    }
                });
                assert_eq!(sum.into_inner(), count * (count + 1) / 2, "{count}, {threads}");
            }
        }
    }

    #[test]
    fn the_search_goes_on_beside_an_item_that_takes_long() {
        let (queue, ended) = (Numbers::new(1..=1000), Barrier::new(2));
        thread::scope(|scope| {
            let first = next(&queue);
            scope.spawn(|| {
                assert_eq!(std::iter::from_fn(|| next(&queue)).count(), 999);
                ended.wait();
            });
            ended.wait();
            assert_eq!(first, Some(1));
        });
    }

    #[test]
    fn few_items_are_found_ahead() {
        let queue = Numbers::new(1..=1000);
        assert_eq!(next(&queue), Some(1));
        assert_eq!(queue.found.count(), MANY - 1);
    }

    #[test]
    fn a_panic_ends_the_search() {
        let queue = Queue::new(());
        thread::scope(|scope| {
            let searching = scope.spawn(|| {
                queue.next(|()| {
                    queue.found.push(1);
                    std::panic::resume_unwind(Box::new("a fault"))
                })
            });
            assert!(searching.join().is_err());
        });
        assert_eq!(queue.next(|()| unreachable!("it has ended")), Some(1));
        assert_eq!(queue.next(|()| unreachable!("it has ended")), None);
    }
}
