//! ppoll(2) over an array that outlives the call. Linux 2.6.16.
//!
//! rustix borrows every descriptor for as long as the array lives, so its array would have to be
//! rebuilt for each wait. This one keeps numbers.
//!
//! # Limitations
//!
//! The number of a closed descriptor reports `POLLNVAL`, and a number that has been reused reports the
//! new file. Both are harmless to memory; the owner of the array removes an entry before it closes the
//! descriptor.

use rustix::event::PollFlags;
use rustix::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::time::Duration;

use crate::last_errno;

/// A descriptor's number, with the requested and the reported events.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct PollEntry(libc::pollfd);

impl PollEntry {
    /// Requests events of `fd`. Without flags the kernel skips it, even after an error.
    #[must_use]
    pub fn new(fd: BorrowedFd<'_>, events: PollFlags) -> Self {
        let mut polled = Self(libc::pollfd { fd: fd.as_raw_fd(), events: 0, revents: 0 });
        polled.set_events(events);
        polled
    }

    /// Changes the requested events.
    pub fn set_events(&mut self, events: PollFlags) {
        let number = self.0.fd.max(!self.0.fd);
        // The kernel skips negative numbers; otherwise it always reports a hang-up.
        self.0.fd = if events.is_empty() { !number } else { number };
        self.0.events = bits(events).cast_signed();
        self.0.revents = 0;
    }

    /// Returns the descriptor's number.
    #[must_use]
    pub fn number(&self) -> usize {
        self.0.fd.max(!self.0.fd).unsigned_abs() as usize
    }

    /// Returns the events that the last [`poll`] reported.
    #[must_use]
    pub fn revents(&self) -> PollFlags {
        flags(self.0.revents.cast_unsigned())
    }
}

impl std::fmt::Debug for PollEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PollEntry").field("fd", &self.0.fd).field("found", &self.revents()).finish()
    }
}

/// Waits for events and returns the number of entries with some. `None` waits indefinitely.
///
/// # Errors
/// `EINTR`; `EINVAL` for more entries than `RLIMIT_NOFILE`; `ENOMEM`.
pub fn poll(fds: &mut [PollEntry], timeout: Option<Duration>) -> io::Result<usize> {
    let timeout = timeout.map(crate::timespec);
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let count = libc::nfds_t::try_from(fds.len()).map_err(|_| io::Errno::INVAL)?;
    let array = fds.as_mut_ptr().cast::<libc::pollfd>();
    // SAFETY: `PollEntry` is a transparent pollfd, the array has `count` of them and is borrowed
    // mutably; the time lives on this frame.
    let found = unsafe { libc::ppoll(array, count, timeout, std::ptr::null()) };
    usize::try_from(found).map_err(|_| last_errno())
}

/// Returns the flags in the kernel's type. (With rustix's libc backend they are signed.)
pub(crate) fn bits(flags: PollFlags) -> u16 {
    flags.bits() as _
}

/// Returns the flags from the kernel's type.
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
    fn an_entry_without_events_is_skipped_even_after_an_error() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut fds = [PollEntry::new(ours.as_fd(), PollFlags::IN)];
        assert_eq!(poll(&mut fds, Some(Duration::ZERO)), Ok(0));
        theirs.write_all(b"x").unwrap();
        assert_eq!(poll(&mut fds, None), Ok(1));
        assert!(fds[0].revents().contains(PollFlags::IN));
        drop(theirs);
        fds[0].set_events(PollFlags::empty());
        assert_eq!(fds[0].number(), usize::try_from(ours.as_raw_fd()).unwrap());
        assert_eq!(poll(&mut fds, Some(Duration::ZERO)), Ok(0));
        fds[0].set_events(PollFlags::OUT);
        assert_eq!(poll(&mut fds, None), Ok(1));
        assert!(fds[0].revents().contains(PollFlags::HUP));
    }
}
