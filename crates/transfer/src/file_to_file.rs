//! A part of a file on its way into another file.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::course::{Course, Ends};
use crate::direction::Direction;
use crate::file_to_socket::Source;
use crate::report::Report;
use crate::residency::ColdPart;
use crate::settings::{Cold, Settings};
use crate::step::{Edit, Progress};
use crate::transfer::Transfer;
use crate::via::Via;

/// A part of a file on its way into another file.
///
/// It copies what is there to read: holes arrive as zeros, except by [`Via::Reflink`] and where
/// [`Via::CopyRange`] knows better. Dropping it at any time loses nothing.
pub struct FileToFile {
    source: Source,
    sink: Source,
    transfer: Transfer,
}

impl FileToFile {
    /// Will move the bytes `range` of `source` into `sink`, from `offset` on. No system call is
    /// made. The two must not be the same part of the same file. A `sink` that is open for
    /// appending (`O_APPEND`) takes the bytes at its end, whatever the offset.
    #[must_use]
    pub fn new(
        source: Source,
        range: Range<u64>,
        sink: Source,
        offset: u64,
        settings: impl Into<Settings>,
    ) -> Self {
        let (direction, settings) = (Direction::FileToFile, settings.into());
        let course = Course::new(direction, Some(range), Some(offset), settings);
        Self { source, sink, transfer: Transfer::new(course) }
    }

    /// The same by [`Via::Cow`], with other bytes in some places: `edits`, sorted by offset and
    /// apart from each other. The source stays as it is.
    #[must_use]
    pub fn edited(self, edits: Arc<[Edit]>) -> Self {
        let Self { source, sink, transfer: Transfer { mut course, .. } } = self;
        course.settings.via = Via::Cow;
        course.edits = Some(edits);
        Self { source, sink, transfer: Transfer::new(course) }
    }

    /// Moves at most a share ([`Settings::share`]).
    ///
    /// # Errors
    /// As [`FileToSocket::step`](crate::FileToSocket::step). After `ENOSPC`, `EDQUOT`, `EFBIG` or
    /// `EIO` the report has the bytes that reached the file.
    pub fn step(&mut self) -> io::Result<Progress> {
        let (from, to) = ((*self.source).as_fd(), (*self.sink).as_fd());
        self.transfer.step(Ends { from, to }, false)
    }

    /// After [`Progress::NeedsWorker`]: what has to be read from the disk for the next step.
    #[must_use]
    pub fn cold_part(&self) -> ColdPart {
        ColdPart::new(Arc::clone(&self.source), &self.transfer)
    }

    /// From the next step on it waits for the disk ([`Cold::Wait`](crate::Cold::Wait)): for a
    /// caller that may wait, or could not warm what is cold.
    pub fn wait_for_disk(&mut self) {
        self.transfer.set_cold(Cold::Wait);
    }

    /// How many bytes have still to go.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.transfer.course.remaining
    }

    /// What the transfer has done so far.
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
