//! The bytes that a socket receives, on their way into a file.

use karez_sys::SharedFd;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use crate::cursor::Cursor;
use crate::direction::Direction;
use crate::report::Report;
use crate::run_blocking::{self, Waits};
use crate::settings::Settings;
use crate::shared_file::SharedFile;
use crate::step::{Descriptors, Progress};
use crate::transfer::Transfer;

/// Writes the bytes that a socket receives to a file.
///
/// Bytes that have left the socket and not reached the file are kept between two steps, in a pipe
/// or in a buffer. Dropping the transfer loses them; [`in_flight`](Self::in_flight) returns their
/// number, which is 0 unless a step failed or returned [`Progress::Moved`] with less than it had
/// taken.
///
/// ```
/// use karez_transfer::{SocketToFile, Via};
/// # use std::{io::Write, os::unix::net::UnixStream, sync::Arc};
/// # fn main() -> std::io::Result<()> {
/// let (socket, mut peer) = UnixStream::pair()?;
/// peer.write_all(b"under the desert")?;
/// let file = Arc::new(tempfile::tempfile()?);
/// let mut transfer = SocketToFile::new(file.clone(), 0, Some(16), Via::Auto);
/// assert_eq!(transfer.run_blocking(&socket)?.bytes, 16);
/// assert_eq!(file.metadata()?.len(), 16);
/// # Ok(())
/// # }
/// ```
pub struct SocketToFile {
    sink: SharedFd,
    transfer: Transfer,
}

impl SocketToFile {
    /// Prepares to write `len` bytes to `sink` from `offset` on, or all until the peer closes if that is
    /// `None`. Makes no system call.
    #[must_use]
    pub fn new(
        sink: impl Into<SharedFile>,
        offset: u64,
        len: Option<u64>,
        settings: impl Into<Settings>,
    ) -> Self {
        let SharedFile(sink) = sink.into();
        let cursor = Cursor::of_stream(len, Some(offset));
        let transfer = Transfer::new(Direction::SocketToFile, cursor, settings.into());
        Self { sink, transfer }
    }

    /// Writes `bytes` to the file before those of the socket: the bytes that a `BufReader` or a parser
    /// has already read. They count in `len`; if there are more of them, only the first `len` are written.
    ///
    /// ```
    /// use karez_transfer::{SocketToFile, Via};
    /// use std::io::{BufRead, BufReader, Read};
    /// # use std::{io::Write, os::unix::net::UnixStream};
    /// # fn main() -> std::io::Result<()> {
    /// # let (socket, mut peer) = UnixStream::pair()?;
    /// # peer.write_all(b"PUT 16\nunder the desert")?;
    /// # let mut file = tempfile::tempfile()?;
    /// let mut reader = BufReader::new(&socket);
    /// let mut line = String::new();
    /// reader.read_line(&mut line)?; // has most likely read more than the line
    /// let ahead = reader.buffer().to_vec();
    /// let store = SocketToFile::new(file.try_clone()?, 0, Some(16), Via::Auto);
    /// store.starting_with(ahead).run_blocking(&socket)?;
    ///
    /// let mut stored = String::new();
    /// file.read_to_string(&mut stored)?;
    /// assert_eq!(stored, "under the desert");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn starting_with(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.transfer.start_with(bytes.into());
        self
    }

    /// Moves at most [`Settings::max_per_step`] bytes from `source`, which must be the same socket
    /// at every step. A peer that closes before `len` bytes is [`Progress::Truncated`].
    ///
    /// # Errors
    /// As [`FileToSocket::step`](crate::FileToSocket::step). After an error such as `ENOSPC` or `EDQUOT`
    /// bytes stay [in flight](Self::in_flight), and the step may be repeated.
    pub fn step(&mut self, source: BorrowedFd<'_>) -> io::Result<Progress> {
        self.step_at_most(source, u64::MAX)
    }

    /// Steps, and moves at most `at_most` bytes, even if that is less than a chunk; with 0 it returns
    /// [`Progress::Moved`]. For a caller that has room for so many, or that shares a socket.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn step_at_most(&mut self, source: BorrowedFd<'_>, at_most: u64) -> io::Result<Progress> {
        let fds = Descriptors { from: source, to: (*self.sink).as_fd() };
        self.transfer.step(fds, false, at_most)
    }

    /// Receives to the end on the calling thread and returns the report. On a non-blocking socket it
    /// waits with poll(2).
    ///
    /// # Errors
    /// As [`step`](Self::step). A peer that closes early is `UnexpectedEof` with
    /// [`Truncated`](crate::Truncated) inside; an expired `SO_RCVTIMEO` is `TimedOut`.
    pub fn run_blocking(&mut self, source: impl AsFd) -> io::Result<&Report> {
        let source = source.as_fd();
        let waits = Waits { source: Some(source), ..Waits::default() };
        run_blocking::run(self, waits, |transfer| transfer.step(source))?;
        Ok(self.report())
    }

    /// Returns how many bytes have been taken from the socket, or were given to
    /// [`starting_with`](Self::starting_with), and are not in the file yet.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.transfer.in_flight()
    }

    /// Returns how many bytes are left; `None` if the transfer ends where the socket does.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        self.transfer.cursor.known_remaining()
    }

    /// Returns the report so far; it counts the bytes in the file.
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
