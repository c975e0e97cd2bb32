//! What one socket receives, on its way out by another.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;

use crate::course::{Course, Ends};
use crate::direction::Direction;
use crate::report::Report;
use crate::settings::Settings;
use crate::step::Progress;
use crate::transfer::Transfer;

/// What one socket receives, on its way out by another: one direction of a proxy.
///
/// Bytes that have left the one and not entered the other are kept between two steps, in a pipe or
/// in a buffer; [`in_flight`](Self::in_flight) says how many, and dropping the transfer loses them.
pub struct SocketToSocket {
    transfer: Transfer,
}

impl SocketToSocket {
    /// Will move `len` bytes, or all until the source closes if that is `None`. No system call is
    /// made.
    #[must_use]
    pub fn new(len: Option<u64>, settings: impl Into<Settings>) -> Self {
        let course = Course::new(Direction::SocketToSocket, None, None, settings.into());
        Self { transfer: Transfer::new(course.limited_to(len)) }
    }

    /// Moves at most a share ([`Settings::share`]) between the two sockets, which have to be the
    /// same at every step. [`Progress::NeedsReadable`] is said of `from`,
    /// [`Progress::NeedsWritable`] of `to`. To pass the end on is the caller's: shutdown(2) of `to`
    /// after [`Progress::Done`].
    ///
    /// # Errors
    /// As [`FileToSocket::step`](crate::FileToSocket::step).
    pub fn step(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<Progress> {
        self.transfer.step(Ends { from, to }, false)
    }

    /// Bytes taken from the one socket that the other has not taken yet.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.transfer.in_flight()
    }

    /// How many bytes have still to come; `None` if it ends where the socket does.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        self.transfer.course.promised()
    }

    /// What the transfer has done so far.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.transfer.report
    }
}

impl fmt::Debug for SocketToSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketToSocket")
            .field("in_flight", &self.in_flight())
            .field("report", self.report())
            .finish_non_exhaustive()
    }
}
