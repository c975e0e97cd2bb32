//! Waking a reactor from another thread: an eventfd(2), Linux 2.6.27; where the model cannot watch
//! one, a pipe(2).
//!
//! What it does badly: each wake-up is a call, and one in the sleeper to take it back, so whoever
//! leaves several things does it [once](crate::sync::inbox::Inbox::post).

use rustix::event::{EventfdFlags, eventfd};
use rustix::io;
use rustix::pipe::{PipeFlags, pipe_with};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Something that a sleeping reactor watches.
#[derive(Debug)]
pub(crate) struct Waker {
    sleeper: OwnedFd,
    /// The other end, where that is not the same.
    end: Option<OwnedFd>,
}

impl Waker {
    pub(crate) fn eventfd() -> io::Result<Self> {
        let sleeper = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { sleeper, end: None })
    }

    /// For a sleeper that waits for nothing else: by [`sleep`](Self::sleep).
    pub(crate) fn blocking() -> io::Result<Self> {
        Ok(Self { sleeper: eventfd(0, EventfdFlags::CLOEXEC)?, end: None })
    }

    pub(crate) fn pipe() -> io::Result<Self> {
        let (sleeper, end) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Self { sleeper, end: Some(end) })
    }

    /// Wakes the sleeper, now or when it next tries to sleep.
    pub(crate) fn wake(&self) {
        // An eventfd's counter cannot overflow, and a full pipe is a wake-up on its way.
        let _woken = io::write(self.end.as_ref().unwrap_or(&self.sleeper), &1_u64.to_ne_bytes());
    }

    /// Waits for a wake-up and takes it, where it was [made for that](Self::blocking).
    pub(crate) fn sleep(&self) {
        while io::read(&self.sleeper, &mut [0; 8]) == Err(io::Errno::INTR) {}
    }

    /// Takes all wake-ups back. What is left for the sleeper is to be looked at after this.
    pub(crate) fn drain(&self) {
        // An eventfd gives its whole count at once, a pipe what fits. Empty already is no harm.
        let mut taken = [0; 512];
        while io::read(&self.sleeper, &mut taken) == Ok(taken.len()) {}
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

    fn is_awake(waker: &Waker) -> bool {
        let mut fds = [PollFd::new(waker, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).unwrap() > 0
    }

    #[test]
    fn a_wake_up_lasts_until_it_is_taken_back() {
        for waker in [Waker::eventfd().unwrap(), Waker::pipe().unwrap()] {
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
}
