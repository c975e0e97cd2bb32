//! What a socket receives, on its way into a file.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;

use crate::course::{Course, Ends};
use crate::direction::Direction;
use crate::file_to_socket::Source;
use crate::report::Report;
use crate::settings::Settings;
use crate::step::Progress;
use crate::transfer::Transfer;

/// What a socket receives, on its way into a file.
///
/// Bytes that have left the socket and not reached the file are kept between two steps, in a pipe
/// or in a buffer. Dropping the transfer loses those, and [`in_flight`](Self::in_flight) says how
/// many they are: 0, unless a step failed or said [`Progress::Moved`] of less than it had taken.
pub struct SocketToFile {
    sink: Source,
    transfer: Transfer,
}

impl SocketToFile {
    /// Will store `len` bytes in `sink` from `offset` on, or all until the peer closes if that is
    /// `None`. No system call is made.
    #[must_use]
    pub fn new(sink: Source, offset: u64, len: Option<u64>, settings: impl Into<Settings>) -> Self {
        let course = Course::new(Direction::SocketToFile, None, Some(offset), settings.into());
        Self { sink, transfer: Transfer::new(course.limited_to(len)) }
    }

    /// Moves at most a share ([`Settings::share`]) from `source`, which has to be the same socket
    /// at every step. A peer that closes before `len` bytes is [`Progress::Truncated`].
    ///
    /// # Errors
    /// As [`FileToSocket::step`](crate::FileToSocket::step); `ENOSPC` and `EDQUOT` among others
    /// leave bytes [in flight](Self::in_flight), and the step may be repeated.
    pub fn step(&mut self, source: BorrowedFd<'_>) -> io::Result<Progress> {
        self.transfer.step(Ends { from: source, to: (*self.sink).as_fd() }, false)
    }

    /// Bytes taken from the socket that the file does not have yet.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.transfer.in_flight()
    }

    /// How many bytes have still to come; `None` if it ends where the socket does.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        self.transfer.course.promised()
    }

    /// What the transfer has done so far; its bytes are those in the file.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.transfer.report
    }
}

impl fmt::Debug for SocketToFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketToFile")
            .field("in_flight", &self.in_flight())
            .field("report", self.report())
            .finish_non_exhaustive()
    }
}
