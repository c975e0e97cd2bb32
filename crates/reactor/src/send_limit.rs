//! Sends that wait inside a call for a moment only: `SO_SNDTIMEO` (socket(7), Linux 2.3.41).
//!
//! A call that moves much in several pieces (sendfile(2), splice(2)) gives each of them all of
//! `SO_SNDTIMEO`, and one that took a little at once reports it when the time is over. So the option
//! is no stall timeout: it would last several times as long. Here a call waits for a moment, then
//! reports the count, and poll(2) waits for room for the rest of the time.
//!
//! # Limitations
//! A peer that is slower than a moment costs a call more each time, and poll(2).

use rustix::io;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// How long one piece of a call may wait for room: as much as a stall timeout may be late by.
const MOMENT: Duration = Duration::from_millis(10);

/// From now on calls that send return after a moment in which the socket takes nothing.
///
/// # Errors
/// `ENOTSOCK`.
pub(crate) fn limit(socket: BorrowedFd<'_>) -> io::Result<()> {
    set_socket_timeout(socket, Timeout::Send, Some(MOMENT))
}
