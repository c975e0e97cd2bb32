//! Errors of a wait that may be gone at the next attempt.
//!
//! `ENOMEM`, `EAGAIN`, `EBUSY` and `ENOBUFS` say that the kernel lacks something now, `ETIME` and
//! `EINTR` that a wait has ended early. None of them is a reason to end an event loop.
//!
//! # Limitations
//! An event loop that pauses serves nothing meanwhile, and an error that stays is retried for ever.

use rustix::io::{self, Errno};
use std::thread;
use std::time::Duration;

/// The pause before the next attempt, so that an error that stays is no busy loop.
pub(crate) const PAUSE: Duration = Duration::from_millis(10);

/// Returns whether the same call may succeed soon.
pub(crate) fn is_transient(errno: Errno) -> bool {
    let lacking = matches!(errno, Errno::NOMEM | Errno::AGAIN | Errno::BUSY | Errno::NOBUFS);
    lacking || matches!(errno, Errno::TIME | Errno::INTR)
}

/// Takes a transient error for an empty answer, after a pause.
///
/// # Errors
/// Any other.
pub(crate) fn tolerate(waited: io::Result<()>) -> io::Result<()> {
    match waited {
        Err(Errno::INTR) => Ok(()),
        Err(errno) if is_transient(errno) => {
            thread::sleep(PAUSE);
            Ok(())
        }
        waited => waited,
    }
}
