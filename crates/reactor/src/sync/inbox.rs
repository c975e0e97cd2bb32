//! Notifications of other threads to an event loop: connections, results of jobs, finished page-ins.
//!
//! They wait in a [queue](crate::sync::wake_queue), for which the event loop is woken once.
//!
//! # Limitations
//!
//! A notification to an event loop that runs costs a lock, to one that sleeps two system calls and a
//! switch of threads.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::io::JobId;
use crate::selector::Token;
use crate::sync::wake_queue::WakeQueue;
use crate::sync::waker::Waker;
use crate::task::{JobError, Peer};
use karez_transfer::Tag;

/// The inbox of an event loop.
#[derive(Debug)]
pub(crate) struct Inbox<D> {
    notifications: WakeQueue<Notification<D>>,
    waker: Arc<Waker>,
    load: AtomicUsize,
}

/// A notification of another thread.
#[derive(Debug)]
pub(crate) enum Notification<D> {
    /// A connection that has been admitted for this event loop.
    Accepted(OwnedFd, Peer),
    /// A job of this connection is done.
    JobDone(Token, JobId, Result<D, JobError>),
    /// Pages that this connection has to send are in memory now, or cannot be read.
    PageInDone(Token, Option<Tag>),
}

impl<D> Inbox<D> {
    pub(crate) fn new(waker: Arc<Waker>) -> Self {
        Self { notifications: WakeQueue::new(), waker, load: AtomicUsize::new(0) }
    }

    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    pub(crate) fn shared_waker(&self) -> &Arc<Waker> {
        &self.waker
    }

    /// Pushes a notification and wakes the event loop, unless an earlier one has woken it.
    pub(crate) fn push(&self, notification: Notification<D>) {
        self.notifications.push(notification, || self.waker.wake());
    }

    /// Exchanges all notifications for `read`, which has to be empty.
    pub(crate) fn drain(&self, read: &mut Vec<Notification<D>>) {
        self.notifications.drain(read);
    }

    /// Returns the number of connections of the event loop, including those on their way to it.
    pub(crate) fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    pub(crate) fn inc_load(&self) {
        self.load.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn dec_load(&self) {
        self.load.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};
    use std::thread;

    /// Several writers against a reader that sleeps whenever it may: a lost wake-up hangs it.
    #[test]
    fn no_wake_up_is_lost() {
        const WRITERS: usize = 4;
        const LETTERS: u64 = 20_000;
        for waker in [Waker::eventfd().unwrap(), Waker::pipe().unwrap()] {
            let inbox = Inbox::new(Arc::new(waker));
            thread::scope(|scope| {
                for writer in 0..WRITERS as u64 {
                    let inbox = &inbox;
                    scope.spawn(move || {
                        for number in 0..LETTERS {
                            inbox.push(Notification::JobDone(Token(writer), JobId(0), Ok(number)));
                            if number % 7 == 0 {
                                thread::yield_now();
                            }
                        }
                    });
                }
                let (mut notifications, mut next) = (Vec::new(), [0; WRITERS]);
                while next.iter().sum::<u64>() < WRITERS as u64 * LETTERS {
                    poll(&mut [PollFd::new(inbox.waker(), PollFlags::IN)], None).unwrap();
                    inbox.waker().drain();
                    inbox.drain(&mut notifications);
                    for notification in notifications.drain(..) {
                        let Notification::JobDone(Token(writer), _, Ok(number)) = notification
                        else {
                            panic!()
                        };
                        let next = &mut next[usize::try_from(writer).unwrap()];
                        assert_eq!(number, *next, "in the order of each writer");
                        *next += 1;
                    }
                }
            });
        }
    }
}
