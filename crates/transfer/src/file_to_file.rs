//! A part of a file on its way into another file.

use karez_sys::SharedFd;
use std::fmt;
use std::io;
use std::ops::RangeBounds;
use std::sync::Arc;

use crate::cursor::Cursor;
use crate::direction::Direction;
use crate::edit::Edit;
use crate::page_in::PageIn;
use crate::report::Report;
use crate::run_blocking::{self, Waits};
use crate::settings::{OnMiss, Settings};
use crate::shared_file::{SharedFile, offsets};
use crate::step::{Descriptors, Progress};
use crate::transfer::Transfer;

/// Copies a part of a file into another file.
///
/// It copies the bytes that a read returns: holes arrive as zeros, except with [`Via::Reflink`] and
/// file systems whose [`Via::CopyRange`] keeps them. Dropping it at any time loses no byte.
///
/// ```
/// use karez_transfer::{FileToFile, Via};
/// # use std::{io::Write, sync::Arc};
/// # fn main() -> std::io::Result<()> {
/// let mut source = tempfile::tempfile()?;
/// source.write_all(b"under the desert")?;
/// let sink = Arc::new(tempfile::tempfile()?);
/// let mut copy = FileToFile::new(Arc::new(source), 0..16, sink, 0, Via::Auto);
/// assert_eq!(copy.run_blocking()?.bytes, 16);
/// # Ok(())
/// # }
/// ```
///
/// [`Via::Reflink`]: crate::Via::Reflink
/// [`Via::CopyRange`]: crate::Via::CopyRange
pub struct FileToFile {
    source: SharedFd,
    sink: SharedFd,
    transfer: Transfer,
}

impl FileToFile {
    /// Prepares to copy the bytes `range` of `source` into `sink` from `offset` on; makes no system
    /// call, but for a range without an end, which ends where the file does now (fstat(2)). The two must not overlap in the same file. A `sink` that is open for
    /// appending (`O_APPEND`) takes the bytes at its end, whatever the offset.
    #[must_use]
    pub fn new(
        source: impl Into<SharedFile>,
        range: impl RangeBounds<u64>,
        sink: impl Into<SharedFile>,
        offset: u64,
        settings: impl Into<Settings>,
    ) -> Self {
        let (SharedFile(source), SharedFile(sink)) = (source.into(), sink.into());
        let cursor = Cursor::of_file(offsets(&range, &source), Some(offset));
        let transfer = Transfer::new(Direction::FileToFile, cursor, settings.into());
        Self { source, sink, transfer }
    }

    /// Returns the same copy by [`Via::Cow`](crate::Via::Cow) with some parts replaced: `edits`, sorted by
    /// offset and without overlap. The source stays unchanged.
    #[must_use]
    pub fn edited(self, edits: Arc<[Edit]>) -> Self {
        Self { transfer: self.transfer.edited(edits), ..self }
    }

    /// Moves at most [`Settings::max_per_step`] bytes.
    ///
    /// # Errors
    /// As [`FileToSocket::step`](crate::FileToSocket::step). After `ENOSPC`, `EDQUOT`, `EFBIG` or
    /// `EIO` the report has the bytes that reached the file.
    pub fn step(&mut self) -> io::Result<Progress> {
        self.step_at_most(u64::MAX)
    }

    /// Steps, and moves at most `at_most` bytes, even if that is less than a chunk; with 0 it returns
    /// [`Progress::Moved`]. For a caller that has room for so many.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn step_at_most(&mut self, at_most: u64) -> io::Result<Progress> {
        let (from, to) = ((*self.source).as_fd(), (*self.sink).as_fd());
        self.transfer.step(Descriptors { from, to }, false, at_most)
    }

    /// Copies to the end on the calling thread, which blocks on the disk, and returns the report.
    ///
    /// # Errors
    /// As [`step`](Self::step). A source that ends early is `UnexpectedEof` with
    /// [`Truncated`](crate::Truncated) inside.
    pub fn run_blocking(&mut self) -> io::Result<&Report> {
        self.block_on_misses();
        run_blocking::run(self, Waits::default(), Self::step)?;
        Ok(self.report())
    }

    /// Returns, after [`Progress::NeedsWorker`], the page-in for the next step.
    #[must_use]
    pub fn page_in(&self) -> PageIn {
        self.transfer.page_in(&self.source)
    }

    /// Makes later steps block on a page-cache miss ([`OnMiss::Block`]), for a caller that may block or
    /// whose page-in has failed.
    pub fn block_on_misses(&mut self) {
        self.transfer.set_on_miss(OnMiss::Block);
    }

    /// Returns how many bytes are left.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.transfer.cursor.remaining
    }

    /// Returns the report so far.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.transfer.report
    }
}

impl fmt::Debug for FileToFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileToFile")
            .field("remaining", &self.remaining())
            .field("report", self.report())
            .finish_non_exhaustive()
    }
}
