//! A multi-producer queue that wakes its consumer: a short lock, and one wake-up for all items that are
//! pushed while the consumer sleeps.
//!
//! No wake-up is lost: a producer that finds the queue empty wakes; the consumer drains its waker first
//! and the queue after, so it either sees an item or the producer found the queue empty. (loom tries
//! every order of these steps: `.ci/loom`.)
//!
//! # Limitations
//!
//! Producers that push at the same moment wait for one lock.

#[cfg(all(test, loom))]
use loom::sync::{Mutex, MutexGuard};
use std::sync::PoisonError;
#[cfg(not(all(test, loom)))]
use std::sync::{Mutex, MutexGuard};

/// Items in the order in which they were pushed.
#[derive(Debug)]
pub(crate) struct WakeQueue<T>(Mutex<Vec<T>>);

impl<T> WakeQueue<T> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Pushes an item and wakes the consumer, unless an earlier item has woken it.
    pub(crate) fn push(&self, thing: T, wake: impl FnOnce()) {
        let mut things = self.lock();
        let first = things.is_empty();
        things.push(thing);
        drop(things);
        if first {
            wake();
        }
    }

    /// Exchanges all items for `taken`, which has to be empty.
    pub(crate) fn drain(&self, taken: &mut Vec<T>) {
        std::mem::swap(&mut *self.lock(), taken);
    }

    /// No code that could panic runs under the lock.
    fn lock(&self) -> MutexGuard<'_, Vec<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[cfg(loom)]
mod loom_tests {
    use super::*;
    use loom::sync::Condvar;
    use loom::thread;
    use std::sync::Arc;

    /// An eventfd that blocks its reader.
    #[derive(Default)]
    struct Bell(Mutex<bool>, Condvar);

    impl Bell {
        fn ring(&self) {
            *self.0.lock().unwrap() = true;
            self.1.notify_one();
        }

        fn sleep(&self) {
            let mut rung = self.0.lock().unwrap();
            while !*rung {
                rung = self.1.wait(rung).unwrap();
            }
        }

        fn rearm(&self) {
            *self.0.lock().unwrap() = false;
        }
    }

    /// Two threads leave two things each for one that sleeps whenever it may. A lost wake-up is a
    /// deadlock, which loom finds.
    fn push_and_take(read: fn(&WakeQueue<(u8, u8)>, &Bell, &mut Vec<(u8, u8)>)) {
        loom::model(move || {
            let shared = Arc::new((WakeQueue::new(), Bell::default()));
            let writers: Vec<_> = (0..2)
                .map(|writer| {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || {
                        for number in 0..2 {
                            shared.0.push((writer, number), || shared.1.ring());
                        }
                    })
                })
                .collect();
            let (mut taken, mut next) = (Vec::new(), [0; 2]);
            while next != [2, 2] {
                shared.1.sleep();
                read(&shared.0, &shared.1, &mut taken);
                for (writer, number) in taken.drain(..) {
                    assert_eq!(number, next[usize::from(writer)], "in the order of each writer");
                    next[usize::from(writer)] += 1;
                }
            }
            for writer in writers {
                writer.join().unwrap();
            }
        });
    }

    #[test]
    fn no_wake_up_is_lost_in_any_order() {
        push_and_take(|queue, bell, taken| {
            bell.rearm();
            queue.drain(taken);
        });
    }

    /// That the model would find it.
    #[test]
    #[should_panic(expected = "deadlock")]
    fn who_takes_before_rearming_loses_one() {
        push_and_take(|queue, bell, taken| {
            queue.drain(taken);
            bell.rearm();
        });
    }
}
