//! ppoll(2) over an array that outlives the call. Linux 2.6.16.
//!
//! rustix borrows every descriptor for as long as the array lives, so its array would have to be
//! made anew for each wait. This one keeps numbers.
//!
//! What it does badly: a number whose descriptor was closed reports `POLLNVAL`, and one that was
//! given to another file since reports that file. Both are harmless to memory; whoever keeps the
//! array takes the entry out before closing.

use rustix::event::PollFlags;
use rustix::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::time::Duration;

use crate::last_errno;

/// A descriptor's number, what is asked about it and what was found.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Polled(libc::pollfd);

impl Polled {
    /// Asks about `fd`. With no flags it is passed over, even when it is broken.
    #[must_use]
    pub fn new(fd: BorrowedFd<'_>, events: PollFlags) -> Self {
        let mut polled = Self(libc::pollfd { fd: fd.as_raw_fd(), events: 0, revents: 0 });
        polled.ask(events);
        polled
    }

    /// Asks for something else from now on.
    pub fn ask(&mut self, events: PollFlags) {
        let number = self.0.fd.max(!self.0.fd);
        // The kernel passes over what is negative; without that a hang-up is always reported.
        self.0.fd = if events.is_empty() { !number } else { number };
        self.0.events = bits(events).cast_signed();
        self.0.revents = 0;
    }

    /// The descriptor's number.
    #[must_use]
    pub fn number(&self) -> usize {
        self.0.fd.max(!self.0.fd).unsigned_abs() as usize
    }

    /// What the last [`poll`] found.
    #[must_use]
    pub fn found(&self) -> PollFlags {
        flags(self.0.revents.cast_unsigned())
    }
}

impl std::fmt::Debug for Polled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Polled").field("fd", &self.0.fd).field("found", &self.found()).finish()
    }
}

/// Waits until something is found, and says for how many. `None` waits without end.
///
/// # Errors
/// `EINTR`; `EINVAL` for more entries than `RLIMIT_NOFILE`; `ENOMEM`.
pub fn poll(fds: &mut [Polled], timeout: Option<Duration>) -> io::Result<usize> {
    let timeout = timeout.map(crate::timespec);
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let count = libc::nfds_t::try_from(fds.len()).map_err(|_| io::Errno::INVAL)?;
    let array = fds.as_mut_ptr().cast::<libc::pollfd>();
    // SAFETY: `Polled` is a transparent pollfd, the array has `count` of them and is borrowed
    // mutably; the time lives on this frame.
    let found = unsafe { libc::ppoll(array, count, timeout, std::ptr::null()) };
    usize::try_from(found).map_err(|_| last_errno())
}

/// The flags as the kernel has them. (Where rustix is told to call libc, it has them signed.)
pub(crate) fn bits(flags: PollFlags) -> u16 {
    flags.bits() as _
}

/// The flags that the kernel has so.
pub(crate) fn flags(bits: u16) -> PollFlags {
    PollFlags::from_bits_retain(bits as _)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_is_not_asked_about_is_passed_over_even_when_broken() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut fds = [Polled::new(ours.as_fd(), PollFlags::IN)];
        assert_eq!(poll(&mut fds, Some(Duration::ZERO)), Ok(0));
        theirs.write_all(b"x").unwrap();
        assert_eq!(poll(&mut fds, None), Ok(1));
        assert!(fds[0].found().contains(PollFlags::IN));
        drop(theirs);
        fds[0].ask(PollFlags::empty());
        assert_eq!(fds[0].number(), usize::try_from(ours.as_raw_fd()).unwrap());
        assert_eq!(poll(&mut fds, Some(Duration::ZERO)), Ok(0));
        fds[0].ask(PollFlags::OUT);
        assert_eq!(poll(&mut fds, None), Ok(1));
        assert!(fds[0].found().contains(PollFlags::HUP));
    }
}
