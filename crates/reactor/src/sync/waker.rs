//! Waking a reactor from another thread: an eventfd(2), Linux 2.6.27; where the model cannot watch
//! one, a pipe(2).
//!
//! A write that fails loses no wake-up: it is retried, if need be by a thread of its own.
//!
//! # Limitations
//! Each wake-up is a call, and one in the sleeper to take it back, so several things that are left at
//! once are signalled [once](crate::sync::inbox::Inbox::push). Where writes fail for a second and no thread
//! can be made, a wake-up is late until the next one.

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{self, Errno, IoSlice};
use rustix::pipe::{PipeFlags, pipe_with};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::transient::PAUSE;

/// Attempts in a row before a pause.
const ATTEMPTS: usize = 16;

/// Attempts, each behind a pause, of a thread that has other things to do.
const ATTEMPTS_IN_PLACE: usize = 100;

/// Something that a sleeping reactor watches.
#[derive(Debug)]
pub(crate) struct Waker {
    sleeper: OwnedFd,
    /// The other end, where that is not the same.
    end: Option<OwnedFd>,
    /// A thread retries a write that failed.
    retried: AtomicBool,
}

impl Waker {
    pub(crate) fn eventfd() -> io::Result<Self> {
        let sleeper = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self::of(sleeper, None))
    }

    /// For a sleeper that waits for nothing else: by [`sleep`](Self::sleep).
    pub(crate) fn blocking() -> io::Result<Self> {
        Ok(Self::of(eventfd(0, EventfdFlags::CLOEXEC)?, None))
    }

    pub(crate) fn pipe() -> io::Result<Self> {
        let (sleeper, end) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Self::of(sleeper, Some(end)))
    }

    fn of(sleeper: OwnedFd, end: Option<OwnedFd>) -> Self {
        Self { sleeper, end, retried: AtomicBool::new(false) }
    }

    /// Wakes the sleeper, now or when it next tries to sleep.
    pub(crate) fn wake(self: &Arc<Self>) {
        if self.try_wake() || self.retried.swap(true, Ordering::AcqRel) {
            return;
        }
        let waker = Arc::clone(self);
        // Until it succeeds, or the sleeper has dropped its waker.
        let retry = move || while Arc::strong_count(&waker) > 1 && !waker.retry() {};
        if thread::Builder::new().name("karez-wake".to_owned()).spawn(retry).is_err() {
            let _late = (0..ATTEMPTS_IN_PLACE).any(|_| self.retry());
            self.retried.store(false, Ordering::Release);
        }
    }

    /// Writes; false if that fails again and again. An eventfd whose counter is full, or a full pipe,
    /// is a wake-up on its way.
    fn try_wake(&self) -> bool {
        let (end, one) = (self.end.as_ref().unwrap_or(&self.sleeper), 1_u64.to_ne_bytes());
        (0..ATTEMPTS).any(|_| match io::write(end, &one) {
            Ok(_) | Err(Errno::AGAIN) => true,
            Err(Errno::INTR) => false,
            // Another call for the same, where a sandbox or a filter refuses only the first.
            Err(_) => io::writev(end, &[IoSlice::new(&one)]).is_ok(),
        })
    }

    /// One more attempt after a pause; true if no more are needed.
    fn retry(&self) -> bool {
        thread::sleep(PAUSE);
        // First this: a write of another thread that fails after it is retried by that.
        self.retried.store(false, Ordering::Release);
        self.try_wake() || self.retried.swap(true, Ordering::AcqRel)
    }

    /// Waits for a wake-up and takes it, where it was [made for that](Self::blocking). May return
    /// without one.
    pub(crate) fn sleep(&self) {
        match io::read(&self.sleeper, &mut [0; 8]) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => thread::sleep(PAUSE),
        }
    }

    /// Takes all wake-ups back. The sleeper has to drain its queue after this.
    pub(crate) fn drain(&self) {
        // An eventfd returns its whole count at once, a pipe as much as fits. It may be empty already. A
        // pipe that is not emptied may send no further signal.
        let mut taken = [0; 512];
        let mut failed = 0;
        while failed < ATTEMPTS {
            match io::read(&self.sleeper, &mut taken) {
                Ok(count) if count == taken.len() => {}
                Ok(_) | Err(Errno::AGAIN) => return,
                Err(_) => failed += 1,
            }
        }
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sleeper.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use std::io::Read as _;
    use std::os::fd::AsRawFd as _;

    fn is_awake(waker: &Waker) -> bool {
        let mut fds = [PollFd::new(waker, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).unwrap() > 0
    }

    #[test]
    fn a_wake_up_lasts_until_it_is_taken_back() {
        for waker in [Waker::eventfd().unwrap(), Waker::pipe().unwrap()].map(Arc::new) {
            assert!(!is_awake(&waker));
            for _ in 0..100_000 {
                waker.wake(); // more than a pipe holds
            }
            assert!(is_awake(&waker));
            waker.drain();
            assert!(!is_awake(&waker));
            waker.drain();
            waker.wake();
            assert!(is_awake(&waker));
        }
    }

    /// A counter that is full, or a pipe: the sleeper is awake, and the writer does not wait.
    #[test]
    fn a_full_counter_is_a_wake_up() {
        let waker = Arc::new(Waker::eventfd().unwrap());
        io::write(&waker.sleeper, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        waker.wake();
        assert!(is_awake(&waker));
        assert!(!waker.retried.load(Ordering::Relaxed));
    }

    /// A pipe without a reader refuses every write, until one opens it again.
    #[test]
    fn a_write_that_fails_is_retried_until_it_does_not() {
        let (reader, end) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        drop(reader);
        let name = format!("/proc/self/fd/{}", end.as_raw_fd());
        let sleeper = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        let waker = Arc::new(Waker::of(sleeper, Some(end)));
        waker.wake();
        assert!(waker.retried.load(Ordering::Relaxed), "a thread retries");
        let mut reader = std::fs::File::open(name).unwrap();
        let mut word = [0; 8];
        reader.read_exact(&mut word).unwrap();
        assert_eq!(word, 1_u64.to_ne_bytes());
    }
}
