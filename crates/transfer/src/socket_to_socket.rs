//! The bytes that a socket receives, on their way to another socket.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use crate::cursor::Cursor;
use crate::direction::Direction;
use crate::report::Report;
use crate::run_blocking::{self, Waits};
use crate::settings::Settings;
use crate::step::{Descriptors, Progress};
use crate::transfer::Transfer;

/// Sends the bytes that a socket receives to another socket: one direction of a proxy.
///
/// Bytes that have left the source and not entered the sink are kept between two steps, in a pipe or
/// in a buffer. [`in_flight`](Self::in_flight) returns their number, and dropping the transfer loses
/// them.
pub struct SocketToSocket {
    transfer: Transfer,
}

impl SocketToSocket {
    /// Prepares to move `len` bytes, or all until the source closes if that is `None`. Makes no system
    /// call.
    #[must_use]
    pub fn new(len: Option<u64>, settings: impl Into<Settings>) -> Self {
        let cursor = Cursor::of_stream(len, None);
        Self { transfer: Transfer::new(Direction::SocketToSocket, cursor, settings.into()) }
    }

    /// Moves at most [`Settings::max_per_step`] bytes between the two sockets, which must be the
    /// same at every step. [`Progress::NeedsReadable`] refers to `from`,
    /// [`Progress::NeedsWritable`] to `to`. The caller passes the end on: shutdown(2) of `to`
    /// after [`Progress::Done`].
    ///
    /// # Errors
    /// As [`FileToSocket::step`](crate::FileToSocket::step).
    pub fn step(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<Progress> {
        self.step_at_most(from, to, u64::MAX)
    }

    /// Steps, and moves at most `at_most` bytes, even if that is less than a chunk; with 0 it returns
    /// [`Progress::Moved`]. For a caller that has room for so many, or that shares a socket.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn step_at_most(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        at_most: u64,
    ) -> io::Result<Progress> {
        self.transfer.step(Descriptors { from, to }, false, at_most)
    }

    /// Moves all bytes on the calling thread and returns the report. On a non-blocking socket it waits
    /// with poll(2). The caller passes the end on, as after [`step`](Self::step).
    ///
    /// # Errors
    /// As [`step`](Self::step). A source that closes early is `UnexpectedEof` with
    /// [`Truncated`](crate::Truncated) inside; an expired `SO_RCVTIMEO` or `SO_SNDTIMEO` is `TimedOut`.
    pub fn run_blocking(&mut self, from: impl AsFd, to: impl AsFd) -> io::Result<&Report> {
        let (from, to) = (from.as_fd(), to.as_fd());
        let waits = Waits { source: Some(from), sink: Some(to), pipes: false };
        run_blocking::run(self, waits, |transfer| transfer.step(from, to))?;
        Ok(self.report())
    }

    /// Returns how many bytes have been taken from the source and have not entered the sink yet.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.transfer.in_flight()
    }

    /// Returns how many bytes are left; `None` if the transfer ends where the source does.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        self.transfer.cursor.known_remaining()
    }

    /// Returns the report so far.
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
