//! Bytes on their way into a pipe, out of one, or from one to another.

use std::fmt;
use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;

use crate::course::{Course, Ends};
use crate::direction::Direction;
use crate::report::Report;
use crate::settings::Settings;
use crate::step::Progress;
use crate::transfer::Transfer;

/// Bytes on their way into a pipe, out of one, or from one to another.
///
/// The other end is a file, at offsets of its own, or another pipe. Whatever else is read and
/// written in order may take the place of a pipe: a terminal, a device, a file at the position of
/// its descriptor, a socket of which only read(2) and write(2) are asked. Where neither end is a
/// pipe, splice(2) is refused and [`Via::Copy`](crate::Via::Copy) goes on.
///
/// ```
/// use karez_transfer::{Piped, Progress, Via};
/// use std::io::{Read, Write};
/// use std::os::fd::AsFd;
///
/// # fn main() -> std::io::Result<()> {
/// let mut file = tempfile::tempfile()?;
/// file.write_all(b"water under the desert")?;
/// let (mut reader, writer) = std::io::pipe()?;
///
/// let mut transfer = Piped::from_file(6..22, Via::Splice);
/// while transfer.step(file.as_fd(), writer.as_fd())? != Progress::Done {}
/// assert_eq!((transfer.report().bytes, transfer.report().calls.splice), (16, 1));
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
/// the step fails with `EPIPE`. By [`Via::Splice`](crate::Via::Splice) no step waits for a pipe,
/// whatever mode the pipe is in; by the other vias a blocking one makes it wait.
pub struct Piped {
    transfer: Transfer,
}

impl Piped {
    /// Will write the bytes `range` of a file to a pipe. No system call is made.
    #[must_use]
    pub fn from_file(range: Range<u64>, settings: impl Into<Settings>) -> Self {
        Self::of(Course::new(Direction::FileToPipe, Some(range), None, settings.into()))
    }

    /// Will store `len` bytes of a pipe in a file from `offset` on, or all until the last writer
    /// closes it if that is `None`.
    #[must_use]
    pub fn to_file(offset: u64, len: Option<u64>, settings: impl Into<Settings>) -> Self {
        let course = Course::new(Direction::PipeToFile, None, Some(offset), settings.into());
        Self::of(course.limited_to(len))
    }

    /// Will move `len` bytes from a pipe to another, or all until the last writer closes it.
    #[must_use]
    pub fn between(len: Option<u64>, settings: impl Into<Settings>) -> Self {
        let course = Course::new(Direction::PipeToPipe, None, None, settings.into());
        Self::of(course.limited_to(len))
    }

    fn of(course: Course) -> Self {
        Self { transfer: Transfer::new(course) }
    }

    /// Moves at most a share ([`Settings::share`]) from `from` to `to`, which have to be the same
    /// at every step. [`Progress::NeedsReadable`] is said of `from`, [`Progress::NeedsWritable`] of
    /// `to`; a FIFO that no writer has opened yet is at its end, so wait until it is readable
    /// before the first step.
    ///
    /// # Errors
    /// As [`FileToSocket::step`](crate::FileToSocket::step).
    pub fn step(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<Progress> {
        self.transfer.step(Ends { from, to }, false)
    }

    /// Bytes taken from a pipe that the other end does not have yet.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.transfer.in_flight()
    }

    /// What the transfer has done so far.
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
