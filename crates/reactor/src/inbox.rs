//! What other threads leave for a reactor: connections, and what came of jobs.
//!
//! They lie in a [tray](crate::tray), for which the reactor is woken once.
//!
//! What it does badly: a letter to a reactor that works costs a lock, one to a reactor that sleeps
//! two system calls and a switch of threads.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::demultiplexer::Token;
use crate::task::Peer;
use crate::tray::Tray;
use crate::waker::Waker;

/// One reactor's inbox.
#[derive(Debug)]
pub(crate) struct Inbox<D> {
    letters: Tray<Letter<D>>,
    waker: Arc<Waker>,
    load: AtomicUsize,
}

/// What can be left for a reactor.
#[derive(Debug)]
pub(crate) enum Letter<D> {
    /// A connection that is its own from now on.
    Newcomer(OwnedFd, Peer),
    /// The job of this connection is done: the one with this serial number.
    Worked(Token, u32, D),
    /// What this connection has to send is in memory now, or cannot be.
    Warmed(Token, u32),
    /// The job of this connection panicked: it will never hear of it.
    Lost(Token, u32),
}

impl<D> Inbox<D> {
    pub(crate) fn new(waker: Arc<Waker>) -> Self {
        Self { letters: Tray::new(), waker, load: AtomicUsize::new(0) }
    }

    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    pub(crate) fn shared_waker(&self) -> &Arc<Waker> {
        &self.waker
    }

    /// Leaves a letter and wakes the reactor, unless it has been woken for an earlier one.
    pub(crate) fn post(&self, letter: Letter<D>) {
        self.letters.leave(letter, || self.waker.wake());
    }

    /// Exchanges all letters for `read`, which has to be empty.
    pub(crate) fn take(&self, read: &mut Vec<Letter<D>>) {
        self.letters.take(read);
    }

    /// Connections that are the reactor's or on their way to it.
    pub(crate) fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    pub(crate) fn one_more(&self) {
        self.load.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn one_less(&self) {
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
                            inbox.post(Letter::Worked(Token(writer), 0, number));
                            if number % 7 == 0 {
                                thread::yield_now();
                            }
                        }
                    });
                }
                let (mut letters, mut next) = (Vec::new(), [0; WRITERS]);
                while next.iter().sum::<u64>() < WRITERS as u64 * LETTERS {
                    poll(&mut [PollFd::new(inbox.waker(), PollFlags::IN)], None).unwrap();
                    inbox.waker().rearm();
                    inbox.take(&mut letters);
                    for letter in letters.drain(..) {
                        let Letter::Worked(Token(writer), 0, number) = letter else { panic!() };
                        let next = &mut next[usize::try_from(writer).unwrap()];
                        assert_eq!(number, *next, "in the order of each writer");
                        *next += 1;
                    }
                }
            });
        }
    }
}
