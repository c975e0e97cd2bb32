//! The peer of a connection that waits for a worker.
//!
//! A connection whose job or page-in is with a worker is watched for a hang-up: poll(2) reports
//! `POLLHUP` when the peer has reset the connection or, on a UNIX socket, closed it. A FIN alone is no
//! departure: a client may shut down its sending side (shutdown(2), `SHUT_WR`) and wait for its answer.
//!
//! # Limitations
//!
//! A TCP peer that closes its socket sends the same FIN, so it is noticed when the answer is refused,
//! at the latest after the job's deadline. select(2) cannot ask for a hang-up alone, so after more
//! bytes or a FIN of the peer nothing is noticed until then. The signal-driven model gets signals
//! for a FIN and for bytes, but Linux sends none for a reset.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::BorrowedFd;

use crate::selector::{Interest, Ready};

/// The watch of one connection.
#[derive(Debug, Default)]
pub(crate) struct PeerWatch {
    pub(crate) is_gone: bool,
    /// Reports are about something else, and would be repeated in every turn.
    ignores_reports: bool,
}

impl PeerWatch {
    /// Starts anew: a worker has got something to do.
    pub(crate) fn start(&mut self) {
        (self.is_gone, self.ignores_reports) = (false, false);
    }

    /// Returns the interest to watch the socket for meanwhile.
    pub(crate) fn wanted(&self) -> Interest {
        if self.ignores_reports { Interest::NONE } else { Interest::HANG_UP }
    }

    /// Finds out whether a report means that the peer is gone.
    pub(crate) fn note(&mut self, report: Ready, socket: BorrowedFd<'_>) {
        self.is_gone = has_hung_up(socket);
        self.ignores_reports = report.readable || report.writable || report.read_closed;
    }
}

/// Returns whether both directions of a socket are closed.
fn has_hung_up(socket: BorrowedFd<'_>) -> bool {
    // Reported unasked.
    let mut fds = [PollFd::from_borrowed_fd(socket, PollFlags::empty())];
    let polled = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    polled.is_ok() && fds[0].revents().contains(PollFlags::HUP)
}
