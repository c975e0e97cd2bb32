//! The errand that a connection on a readiness model waits for, and the peer meanwhile.
//!
//! A connection whose job or page-in is with a worker is watched for a hang-up: poll(2) reports
//! `POLLHUP` when the peer has reset the connection or, on a UNIX socket, closed it. A FIN alone is no
//! departure: a client may shut down its sending side (shutdown(2), `SHUT_WR`) and wait for its answer.
//!
//! # Limitations
//!
//! A TCP peer that closes its socket sends the same FIN, so it is noticed when the answer is refused,
//! at the latest after the job's deadline. select(2) cannot ask for a hang-up alone, so after more
//! bytes or a FIN of the peer nothing is noticed until then. The signal-driven model is told of a FIN
//! and of bytes, but Linux sends no signal for a reset.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::BorrowedFd;

use crate::demultiplexer::{Interest, Ready};
use crate::pool::Ticket;

/// Of one connection.
#[derive(Debug, Default)]
pub(crate) struct PendingErrand {
    /// Of the errand that is out, or of the last.
    pub(crate) serial: u32,
    /// Where the pool has it.
    pub(crate) ticket: Option<Ticket>,
    pub(crate) peer_is_gone: bool,
    /// What is reported is not what it is watched for, again and again.
    deaf: bool,
}

impl PendingErrand {
    /// A new errand goes out.
    pub(crate) fn begin(&mut self) {
        (self.peer_is_gone, self.deaf) = (false, false);
        self.serial = self.serial.wrapping_add(1);
    }

    /// It is back; the pool need not be told.
    pub(crate) fn end(&mut self) {
        self.ticket = None;
    }

    /// What the socket is watched for meanwhile.
    pub(crate) fn wanted(&self) -> Interest {
        if self.deaf { Interest::NONE } else { Interest::HANG_UP }
    }

    /// Finds out whether a report means that the peer is gone.
    pub(crate) fn note(&mut self, report: Ready, socket: BorrowedFd<'_>) {
        self.peer_is_gone = has_hung_up(socket);
        self.deaf = report.readable || report.writable || report.hang_up;
    }
}

/// Whether both directions of a socket are closed.
pub(crate) fn has_hung_up(socket: BorrowedFd<'_>) -> bool {
    // Reported unasked.
    let mut fds = [PollFd::from_borrowed_fd(socket, PollFlags::empty())];
    let polled = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    polled.is_ok() && fds[0].revents().contains(PollFlags::HUP)
}
