//! A network of one's own: unshare(2) with `CLONE_NEWNET` (Linux 3.0), for a user without
//! privileges inside `CLONE_NEWUSER` (3.8).
//!
//! It begins with nothing but a loopback that is down, and ends with its last process.
//!
//! What it does badly: a user namespace is refused to a process with several threads, and by some
//! distributions to everybody; devices take a moment to go after the last process has.

use rustix::io;
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Puts the calling thread into a new network, and into a new user namespace if `as_user`, where
/// it may do there as it likes.
///
/// # Errors
/// `EPERM` where it is not permitted; `EINVAL` for a user namespace in a process that has other
/// threads; `ENOSPC` where there are too many.
pub fn own_network(as_user: bool) -> io::Result<()> {
    let mut flags = UnshareFlags::NEWNET;
    flags.set(UnshareFlags::NEWUSER, as_user);
    // SAFETY: the table of open files, the one thing whose parting is unsound, stays shared.
    unsafe { unshare_unsafe(flags) }
}
