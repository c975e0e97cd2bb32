//! Waits for signals instead of catching them: blocked by pthread_sigmask(3), taken by
//! rt_sigtimedwait(2), Linux 2.2.
//!
//! Without a handler and a pipe, no write can be lost: a blocked signal stays pending until
//! it is taken, even one that the parent process has ignored.
//!
//! # Limitations
//!
//! Every thread of the process has to block them, so they are blocked before the first is made; a
//! program that is executed inherits that.

use rustix::io::{self, Errno};
use rustix::process::Signal;
use std::mem::MaybeUninit;
use std::time::Duration;

use crate::last_errno;

/// A set of signals that are blocked in the thread that made it, and in threads that this starts later.
#[derive(Clone, Copy)]
pub struct BlockedSignals(libc::sigset_t);

impl BlockedSignals {
    /// Blocks the signals in the calling thread.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn block(signals: &[Signal]) -> io::Result<Self> {
        let mut set = MaybeUninit::uninit();
        // SAFETY: it initialises the set and cannot fail.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        // SAFETY: sigemptyset has initialised it.
        let mut set = unsafe { set.assume_init() };
        for signal in signals {
            // SAFETY: the set is initialised; an invalid number is refused and changes nothing.
            unsafe { libc::sigaddset(&raw mut set, signal.as_raw()) };
        }
        // SAFETY: the set lives here and is initialised; the old set is not requested.
        let result =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        if result == 0 { Ok(Self(set)) } else { Err(Errno::from_raw_os_error(result)) }
    }

    /// Unblocks the signals in the calling thread.
    ///
    /// # Errors
    /// None on Linux.
    pub fn unblock(&self) -> io::Result<()> {
        // SAFETY: the set lives here and is initialised; the old set is not requested.
        let result = unsafe {
            libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const self.0, std::ptr::null_mut())
        };
        if result == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(result)) }
    }

    /// Waits for one of the signals and takes it; returns false on a timeout. Without a `timeout` it waits
    /// indefinitely.
    ///
    /// # Errors
    /// `EINTR`, also after the process was stopped and continued.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<bool> {
        self.take(timeout).map(|signal| signal.is_some())
    }

    /// Waits as [`wait`](Self::wait), and returns the signal that it has taken; `None` on a timeout.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn take(&self, timeout: Option<Duration>) -> io::Result<Option<Signal>> {
        let timeout = timeout.map(crate::timespec);
        let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: the set and the time are read and live here; details of the signal
        // are not requested.
        let signal =
            unsafe { libc::sigtimedwait(&raw const self.0, std::ptr::null_mut(), timeout) };
        if signal > 0 {
            // Only named signals are blocked.
            return Ok(Signal::from_named_raw(signal));
        }
        match last_errno() {
            Errno::AGAIN => Ok(None),
            errno => Err(errno),
        }
    }
}

impl std::fmt::Debug for BlockedSignals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("BlockedSignals").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::getpid;

    #[test]
    fn a_pending_signal_is_taken() {
        // A signal that no other test of this process sends; it is discarded if it is not blocked.
        let signals = BlockedSignals::block(&[Signal::WINCH]).unwrap();
        assert_eq!(signals.wait(Some(Duration::ZERO)), Ok(false));
        // To this thread, because other test threads do not block it.
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        // SAFETY: no memory is passed.
        let sent = unsafe {
            let pid = getpid().as_raw_nonzero().get();
            libc::syscall(libc::SYS_tgkill, pid, thread, Signal::WINCH.as_raw())
        };
        assert_eq!(sent, 0);
        assert_eq!(signals.take(None), Ok(Some(Signal::WINCH)));
        assert_eq!(signals.wait(Some(Duration::ZERO)), Ok(false));
    }
}
