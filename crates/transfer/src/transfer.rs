//! One movement: a part of a file on its way into a socket.

use rustix::io::Errno;
use std::fmt;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use crate::ladder;
use crate::report::{Calls, Fallback, Report};
use crate::step::{Piece, Progress};
use crate::via::direct::Direct;
use crate::via::mmap::Mmap;
use crate::via::splice::Splice;
use crate::via::{Via, copy, sendfile};

/// Where bytes come from. Shared, so that a cache may lend one open file to many transfers.
pub type Source = Arc<dyn AsFd + Send + Sync>;

/// A part of a file on its way into a socket.
///
/// It may rest between two steps for as long as it likes. By most vias the number of bytes moved
/// is the only state then; by [`Via::Splice`] and [`Via::Direct`] there may be a pipe or a buffer
/// with what the socket has not taken, by [`Via::Mmap`] a mapped window.
pub struct Transfer {
    source: Source,
    offset: u64,
    remaining: u64,
    engine: Engine,
    report: Report,
}

/// A via at work, with what it has to remember between two steps.
enum Engine {
    Copy,
    Sendfile,
    Splice(Splice),
    Mmap(Mmap),
    Direct(Direct),
}

impl Engine {
    fn of(via: Via) -> Self {
        match via {
            Via::Copy => Self::Copy,
            Via::Sendfile => Self::Sendfile,
            Via::Splice => Self::Splice(Splice::default()),
            Via::Mmap => Self::Mmap(Mmap::default()),
            Via::Direct => Self::Direct(Direct::default()),
        }
    }
}

impl Transfer {
    /// Will move the bytes `range` of `source` by `via`. No system call is made.
    #[must_use]
    pub fn new(source: Source, range: Range<u64>, via: Via) -> Self {
        let report =
            Report { asked: via, ran: via, bytes: 0, calls: Calls::default(), fallback: None };
        Self {
            source,
            offset: range.start,
            remaining: range.end.saturating_sub(range.start),
            engine: Engine::of(via),
            report,
        }
    }

    /// Moves at most one chunk into `out`.
    ///
    /// # Errors
    /// What the kernel said to `sendfile(2)`, `pread(2)` or `send(2)`, except that `EAGAIN` is
    /// [`Progress::NeedsWritable`], `EINTR` is tried again and a refused via falls back to the
    /// next ([`Via::fallback`]) from the same byte. The transfer stands where it stood.
    pub fn step(&mut self, out: BorrowedFd<'_>) -> io::Result<Progress> {
        self.step_before(out, false)
    }

    /// A step that knows whether the outbox has something behind this transfer.
    pub(crate) fn step_before(&mut self, out: BorrowedFd<'_>, more: bool) -> io::Result<Progress> {
        while self.remaining > 0 {
            match self.attempt(out, more) {
                Ok(0) => {
                    return Ok(Progress::Truncated { missing: self.remaining });
                }
                Ok(moved) => {
                    self.advance(moved);
                    return Ok(Progress::Moved(moved));
                }
                Err(Errno::AGAIN) => return Ok(Progress::NeedsWritable),
                Err(Errno::INTR) => {}
                Err(errno) => self.step_down(errno)?,
            }
        }
        Ok(Progress::Done)
    }

    fn attempt(&mut self, out: BorrowedFd<'_>, more: bool) -> rustix::io::Result<u64> {
        let (file, calls) = (self.source.as_fd(), &mut self.report.calls);
        let piece = Piece { file, offset: self.offset, len: self.remaining, out, more };
        match &mut self.engine {
            Engine::Copy => copy::step(piece, calls),
            Engine::Sendfile => sendfile::step(piece, calls),
            Engine::Splice(splice) => splice.step(piece, calls),
            Engine::Mmap(mmap) => mmap.step(piece, calls),
            Engine::Direct(direct) => direct.step(piece, calls),
        }
    }

    fn step_down(&mut self, errno: Errno) -> io::Result<()> {
        let from = self.report.ran;
        let rung = from.fallback().filter(|_| ladder::refuses_via(errno)).ok_or(errno)?;
        self.report.fallback = Some(Fallback { from, errno, after: self.report.bytes });
        self.report.ran = rung;
        self.engine = Engine::of(rung);
        Ok(())
    }

    /// Reads the bytes to come into `buffer`, for an outbox that sends them along with others.
    /// What it then sent, it counts by [`advance`](Self::advance).
    pub(crate) fn read_behind(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(buffer.len());
        self.report.ran = Via::Copy;
        self.report.calls.send += 1;
        loop {
            self.report.calls.pread += 1;
            match rustix::io::pread(self.source.as_fd(), &mut buffer[..count], self.offset) {
                Err(Errno::INTR) => {} // a file system over a network or in user space
                read => return Ok(read?),
            }
        }
    }

    /// Counts bytes that left, by a step or along with others.
    pub(crate) fn advance(&mut self, moved: u64) {
        self.offset += moved;
        self.remaining -= moved;
        self.report.bytes += moved;
    }

    /// How many bytes have still to go.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// What the transfer has done so far.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }
}

impl fmt::Debug for Transfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transfer")
            .field("offset", &self.offset)
            .field("remaining", &self.remaining)
            .field("report", &self.report)
            .finish_non_exhaustive()
    }
}
