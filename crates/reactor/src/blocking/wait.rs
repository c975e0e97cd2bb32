//! Waiting in poll(2) until a moment, whatever interrupts it. That nothing is ready is said by a poll
//! that began behind that moment.
//!
//! # Limitations
//! A wait in vain costs a second call.

use rustix::event::{PollFd, Timespec, poll};
use rustix::io;
use std::thread;
use std::time::Instant;

use crate::transient::{PAUSE, is_transient};

/// Waits until one is ready, at most until then; false if none was.
///
/// # Errors
/// As poll(2), but for transient errors.
pub(super) fn until_ready(fds: &mut [PollFd<'_>], until: Instant) -> io::Result<bool> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match poll(fds, Timespec::try_from(left).ok().as_ref()) {
            // Nothing, perhaps long ago: this process may have been stopped since.
            Ok(0) if !left.is_zero() => {}
            Ok(found) => return Ok(found > 0),
            Err(errno) if !is_transient(errno) => return Err(errno),
            Err(_) if left.is_zero() => return Ok(false),
            Err(io::Errno::INTR) => {}
            Err(_) => thread::sleep(PAUSE.min(left)),
        }
    }
}
