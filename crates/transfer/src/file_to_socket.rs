//! A part of a file on its way into a socket.

use std::fmt;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use crate::course::{Course, Ends};
use crate::direction::Direction;
use crate::file_range::FileRange;
use crate::report::Report;
use crate::residency::ColdPart;
use crate::settings::{Cold, Settings};
use crate::step::{Edit, Progress};
use crate::transfer::Transfer;
use crate::via::copy;
use crate::via::{Via, auto};

/// The largest part of a file that rides along with the memory before it, in bytes.
const RIDE_ALONG: u64 = 16 << 10;

/// An open file. Shared, so that a cache may lend it to many transfers.
pub type Source = Arc<dyn AsFd + Send + Sync>;

/// A part of a file on its way into a socket.
///
/// It may rest between two steps for as long as it likes. By most vias the number of bytes moved
/// is the only state then; by [`Via::Splice`] and [`Via::Direct`] there may be a pipe or a buffer
/// with what the socket has not taken, by [`Via::Mmap`], [`Via::Cow`] and [`Via::Zerocopy`] a
/// mapped window. Dropping it at any time loses nothing: the file still has every byte, and
/// [`report`](Self::report)`().bytes` have left.
pub struct FileToSocket {
    source: Source,
    transfer: Transfer,
}

impl FileToSocket {
    /// Will move the bytes `range` of `source`. No system call is made.
    #[must_use]
    pub fn new(source: Source, range: Range<u64>, settings: impl Into<Settings>) -> Self {
        let course = Course::new(Direction::FileToSocket, Some(range), None, settings.into());
        Self { source, transfer: Transfer::new(course) }
    }

    /// The same by [`Via::Cow`], with other bytes in some places: `edits`, sorted by offset and
    /// apart from each other. The file stays as it is, and so do its pages in the cache.
    #[must_use]
    pub fn edited(
        source: Source,
        range: Range<u64>,
        edits: Arc<[Edit]>,
        settings: impl Into<Settings>,
    ) -> Self {
        let settings = Settings { via: Via::Cow, ..settings.into() };
        let mut edited = Self::new(source, range, settings);
        edited.transfer.course.edits = Some(edits);
        edited
    }

    /// Moves at most a share ([`Settings::share`]) into `out`, which has to be the same socket at
    /// every step.
    ///
    /// # Errors
    /// What the kernel said, except that `EAGAIN` is [`Progress::NeedsWritable`], `EINTR` is tried
    /// again and a refused via falls back to the next ([`Via::fallback`]) from the same byte. What
    /// has moved is in the report, and the transfer may be stepped again.
    pub fn step(&mut self, out: BorrowedFd<'_>) -> io::Result<Progress> {
        self.step_before(out, false)
    }

    /// A step that knows whether the outbox has something behind this transfer.
    pub(crate) fn step_before(&mut self, out: BorrowedFd<'_>, more: bool) -> io::Result<Progress> {
        self.transfer.step(Ends { from: (*self.source).as_fd(), to: out }, more)
    }

    /// After [`Progress::NeedsWorker`]: what has to be read from the disk for the next step.
    #[must_use]
    pub fn cold_part(&self) -> ColdPart {
        ColdPart::new(Arc::clone(&self.source), &self.transfer)
    }

    /// From the next step on it tells what would wait for the disk
    /// ([`Cold::Tell`]).
    pub fn tell_cold(&mut self) {
        self.transfer.set_cold(Cold::Tell);
    }

    /// Whether its file system may [never answer](crate::Device::remote).
    #[must_use]
    pub fn is_remote(&self) -> bool {
        self.transfer.course.settings.device.remote
    }

    /// From the next step on it waits for the disk ([`Cold::Wait`]): for a
    /// caller that may wait, or could not warm what is cold.
    pub fn wait_for_disk(&mut self) {
        self.transfer.set_cold(Cold::Wait);
    }

    /// Reads the bytes that begin `ahead` bytes in front of the cursor into `buffer`, for an outbox
    /// that sends them along with other pieces and counts by [`advance`](Self::advance) what has left.
    /// `None` if that would wait for the disk, and the transfer reports such.
    pub(crate) fn read_ahead(
        &mut self,
        ahead: u64,
        buffer: &mut [u8],
    ) -> io::Result<Option<usize>> {
        self.transfer.read_ahead((*self.source).as_fd(), ahead, buffer)
    }

    pub(crate) fn advance(&mut self, moved: u64) {
        self.transfer.advance(moved);
    }

    /// Whether it is so short that it leaves with the memory in front of it, in one send.
    #[must_use]
    pub fn rides_along(&self) -> bool {
        self.remaining() <= RIDE_ALONG && self.is_plain() && !self.transfer.offloads_reads()
    }

    /// The via that the first step will try, unless one before was refused between such ends,
    /// behind a head in an [outbox](crate::Outbox) and with so many of its bytes in the page cache.
    /// [`Report::ran`] says which ran.
    #[must_use]
    pub fn intended(&self, cached: u64) -> Via {
        match self.asked() {
            _ if self.rides_along() => Via::Copy,
            Via::Auto if !self.is_plain() => Via::Cow,
            Via::Auto => auto::intended(self.remaining(), cached),
            asked => asked,
        }
    }

    /// Returns at most `most` bytes that begin `ahead` bytes in front of the cursor, for a backend that
    /// moves them itself, and by `via`.
    pub(crate) fn range(&mut self, ahead: u64, most: usize, via: Via) -> FileRange {
        self.transfer.report.turn_to(via);
        let course = &self.transfer.course;
        let remaining = course.remaining.saturating_sub(ahead);
        FileRange {
            source: Arc::clone(&self.source),
            offset: course.from.unwrap_or(0) + ahead,
            length: usize::try_from(remaining).unwrap_or(most).min(most),
            remaining,
            device: course.settings.device,
            via,
            edits: course.edits.clone(),
        }
    }

    /// Returns all bytes to come, for a backend that splices them itself.
    pub fn range_to_splice(&mut self) -> FileRange {
        self.range(0, usize::MAX, Via::Splice)
    }

    /// Makes the edits that fall into `bytes`, which were read from `ahead` bytes in front of the
    /// cursor.
    pub(crate) fn edit(&self, ahead: u64, bytes: &mut [u8]) {
        let course = &self.transfer.course;
        let edits = course.edits.as_deref().unwrap_or_default();
        copy::apply(edits, course.from.unwrap_or(0) + ahead, bytes);
    }

    /// Notes in the report that its bytes leave in sealed records.
    pub(crate) fn note_sealed(&mut self) {
        self.transfer.note_sealed();
    }

    /// The via that was asked for.
    #[must_use]
    pub fn asked(&self) -> Via {
        self.transfer.report.asked
    }

    /// Whether its bytes may be sent as they stand in the file.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.transfer.course.edits.is_none()
    }

    /// Whether something was tried or has moved.
    pub(crate) fn has_begun(&self) -> bool {
        self.report().calls.total() > 0 || self.report().bytes > 0
    }

    /// What it did, in the end.
    pub(crate) fn into_report(self) -> Report {
        self.transfer.report
    }

    /// Whether nothing is left to do, not even to wait for the socket to let go.
    pub(crate) fn is_done(&self) -> bool {
        self.transfer.is_done()
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

impl fmt::Debug for FileToSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileToSocket")
            .field("remaining", &self.remaining())
            .field("report", self.report())
            .finish_non_exhaustive()
    }
}
