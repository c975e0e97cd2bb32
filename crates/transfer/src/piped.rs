//! Bytes on their way into a pipe, out of one, or from one to another.

use std::fmt;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};

use crate::cursor::Cursor;
use crate::direction::Direction;
use crate::report::Report;
use crate::run_blocking::{self, Waits};
use crate::settings::{OnMiss, Settings};
use crate::step::{Descriptors, Progress};
use crate::transfer::Transfer;

/// Moves bytes into a pipe, out of one, or from one to another.
///
/// The other end is a file, at explicit offsets, or another pipe. Any descriptor that is read and
/// written in order may take the place of a pipe: a terminal, a device, a file at the position of
/// its descriptor, a socket on which only read(2) and write(2) are called. If neither end is a
/// pipe, splice(2) is unsupported and the transfer falls back to [`Via::Copy`](crate::Via::Copy).
///
/// ```
/// use karez_transfer::{Piped, Via};
/// use std::io::{Read, Write};
///
/// # fn main() -> std::io::Result<()> {
/// let mut file = tempfile::tempfile()?;
/// file.write_all(b"water under the desert")?;
/// let (mut reader, writer) = std::io::pipe()?;
///
/// let mut transfer = Piped::from_file(6..22, Via::Splice);
/// let report = transfer.run_blocking(&file, &writer)?;
/// assert_eq!((report.bytes, report.calls.splice), (16, 1));
///
/// drop(writer);
/// let mut received = String::new();
/// reader.read_to_string(&mut received)?;
/// assert_eq!(received, "under the desert");
/// # Ok(())
/// # }
/// ```
///
/// # Limitations
///
/// A pipe without readers raises SIGPIPE unless that is ignored, as it is in Rust programs; then
/// the step fails with `EPIPE`. With [`Via::Splice`](crate::Via::Splice) no step blocks on a pipe,
/// whatever mode the pipe is in; with the other vias a step blocks on a blocking pipe.
pub struct Piped {
    transfer: Transfer,
}

impl Piped {
    /// Prepares to write the bytes `range` of a file to a pipe. Makes no system call.
    #[must_use]
    pub fn from_file(range: Range<u64>, settings: impl Into<Settings>) -> Self {
        Self::new(Direction::FileToPipe, Cursor::of_file(range, None), settings.into())
    }

    /// Prepares to write `len` bytes of a pipe to a file from `offset` on, or all until the last writer
    /// closes it if that is `None`.
    #[must_use]
    pub fn to_file(offset: u64, len: Option<u64>, settings: impl Into<Settings>) -> Self {
        Self::new(Direction::PipeToFile, Cursor::of_stream(len, Some(offset)), settings.into())
    }

    /// Prepares to move `len` bytes from a pipe to another, or all until the last writer closes it.
    #[must_use]
    pub fn between(len: Option<u64>, settings: impl Into<Settings>) -> Self {
        Self::new(Direction::PipeToPipe, Cursor::of_stream(len, None), settings.into())
    }

    fn new(direction: Direction, cursor: Cursor, settings: Settings) -> Self {
        Self { transfer: Transfer::new(direction, cursor, settings) }
    }

    /// Moves at most [`Settings::max_per_step`] bytes from `from` to `to`, which must be the same
    /// at every step. [`Progress::NeedsReadable`] refers to `from`, [`Progress::NeedsWritable`] to
    /// `to`. A FIFO that no writer has opened yet is at its end, so wait until it is readable
    /// before the first step.
    ///
    /// # Errors
    /// As [`FileToSocket::step`](crate::FileToSocket::step).
    pub fn step(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<Progress> {
        self.step_at_most(from, to, u64::MAX)
    }

    /// Steps, and moves at most `at_most` bytes, even if that is less than a chunk; with 0 it returns
    /// [`Progress::Moved`].
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

    /// Moves all bytes on the calling thread and returns the report; waits for the pipe with poll(2).
    ///
    /// # Errors
    /// As [`step`](Self::step). A source that ends early is `UnexpectedEof` with
    /// [`Truncated`](crate::Truncated) inside.
    pub fn run_blocking(&mut self, from: impl AsFd, to: impl AsFd) -> io::Result<&Report> {
        let (from, to) = (from.as_fd(), to.as_fd());
        let waits = Waits { source: Some(from), sink: Some(to), pipes: true };
        self.transfer.set_on_miss(OnMiss::Block);
        run_blocking::run(self, waits, |transfer| transfer.step(from, to))?;
        Ok(self.report())
    }

    /// Returns how many bytes have been taken from a pipe and have not reached the sink yet.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.transfer.in_flight()
    }

    /// Returns the report so far.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.transfer.report
    }
}

impl fmt::Debug for Piped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Piped")
            .field("in_flight", &self.in_flight())
            .field("report", self.report())
            .finish_non_exhaustive()
    }
}
