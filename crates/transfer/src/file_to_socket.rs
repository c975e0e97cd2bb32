//! A part of a file on its way into a socket.

use karez_sys::SharedFd;
use std::fmt;
use std::io;
use std::ops::{Range, RangeBounds};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use crate::cursor::Cursor;
use crate::direction::Direction;
use crate::edit::{Edit, apply};
use crate::file_range::FileRange;
use crate::page_in::PageIn;
use crate::report::Report;
use crate::residency::Residency;
use crate::run_blocking::{self, Waits};
use crate::settings::{OnMiss, Settings};
use crate::shared_file::{SharedFile, offsets};
use crate::step::{Descriptors, Progress};
use crate::transfer::Transfer;
use crate::version::{Changed, Version};
use crate::via::{Via, auto};

/// The largest part of a file that is inlined behind the memory before it, in bytes.
const INLINE_MAX: u64 = 16 << 10;

/// Sends a part of a file to a socket.
///
/// Any time may pass between two steps. With most vias the only state is the number of bytes moved;
/// with [`Via::Splice`] and [`Via::Direct`] there may be a pipe or a buffer of unsent bytes, with
/// [`Via::Mmap`], [`Via::Cow`] and [`Via::Zerocopy`] a mapped window. Dropping it at any time loses no
/// byte: the file still has all of them, and [`report`](Self::report)`().bytes` have been sent.
///
/// ```
/// use karez_transfer::{FileToSocket, Via};
/// # use std::{io::Write, os::unix::net::UnixStream, sync::Arc};
/// # fn main() -> std::io::Result<()> {
/// # let mut file = tempfile::tempfile()?;
/// # file.write_all(b"water under the desert")?;
/// # let (socket, _peer) = UnixStream::pair()?;
/// let mut transfer = FileToSocket::new(Arc::new(file), 6..22, Via::Sendfile);
/// let report = transfer.run_blocking(&socket)?;
/// assert_eq!(report.to_string(), "sendfile 16 bytes in 1 calls");
/// # Ok(())
/// # }
/// ```
pub struct FileToSocket {
    source: SharedFd,
    transfer: Transfer,
    content: Option<Content>,
}

/// The bytes of a file in memory, and the offset of the first.
struct Content {
    bytes: Arc<[u8]>,
    offset: u64,
}

impl FileToSocket {
    /// Prepares to send the bytes `range` of `source`. Makes no system call, but for a range without an
    /// end, which ends where the file does now (fstat(2)).
    #[must_use]
    pub fn new(
        source: impl Into<SharedFile>,
        range: impl RangeBounds<u64>,
        settings: impl Into<Settings>,
    ) -> Self {
        let SharedFile(source) = source.into();
        let cursor = Cursor::of_file(offsets(&range, &source), None);
        let transfer = Transfer::new(Direction::FileToSocket, cursor, settings.into());
        Self { source, transfer, content: None }
    }

    /// Prepares to send the same by [`Via::Cow`] with some parts replaced: `edits`, sorted by offset and
    /// without overlap. The file stays unchanged, and so do its pages in the cache.
    #[must_use]
    pub fn edited(
        source: impl Into<SharedFile>,
        range: impl RangeBounds<u64>,
        edits: Arc<[Edit]>,
        settings: impl Into<Settings>,
    ) -> Self {
        let Self { source, transfer, content } = Self::new(source, range, settings);
        Self { source, transfer: transfer.edited(edits), content }
    }

    /// Provides the bytes of the file from `offset`, which must be those that a read would return. They
    /// are sent, without a read, in units of an outbox and where an outbox [inlines](Self::is_inlined) the
    /// file; elsewhere, and beyond their end, the file is read. A file that an outbox without
    /// [statistics](crate::Outbox::enable_stats) inlines from memory has no report.
    #[must_use]
    pub fn with_content(self, bytes: Arc<[u8]>, offset: u64) -> Self {
        Self { content: Some(Content { bytes, offset }), ..self }
    }

    /// Makes the transfer fail with [`Changed`], before its last byte is sent, if the file does not have this
    /// version any more: then the bytes that were sent may be of two versions. Costs one statx(2), or
    /// one for each attempt to send the last bytes where the socket has no room for them. Take the version
    /// before the first byte is read. What is not noticed is said at [`Version`].
    ///
    /// ```
    /// use karez_transfer::{Changed, FileToSocket, Version, Via};
    /// # use std::{io::Write, os::unix::net::UnixStream, sync::Arc};
    /// # fn main() -> std::io::Result<()> {
    /// # let mut file = tempfile::tempfile()?;
    /// # file.write_all(b"water under the desert")?;
    /// # let (socket, _peer) = UnixStream::pair()?;
    /// let version = Version::of(&file)?;
    /// let mut transfer = FileToSocket::new(file.try_clone()?, 0..22, Via::Copy).verified(version);
    /// file.write_all(b", and above it")?;
    /// let error = transfer.run_blocking(&socket).unwrap_err();
    /// assert!(Changed::is(&error));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn verified(mut self, version: impl Into<Option<Version>>) -> Self {
        self.transfer.version = version.into();
        self
    }

    /// Returns whether the file has to be verified when `count` bytes that begin `ahead` bytes in front of the
    /// cursor have been read: they are the last.
    pub(crate) fn ends_verified(&self, ahead: u64, count: usize) -> bool {
        self.transfer.version.is_some() && ahead + count as u64 >= self.remaining()
    }

    /// Verifies the file, if so many bytes are its last, for an event loop that has read them and is going
    /// to send them.
    ///
    /// # Errors
    /// [`Changed`].
    #[doc(hidden)]
    pub fn verify(&mut self, ahead: u64, count: usize) -> Result<(), Changed> {
        if !self.ends_verified(ahead, count) {
            return Ok(());
        }
        self.transfer.report.calls.statx += 1;
        let now = Version::of((*self.source).as_fd()).ok();
        if now == self.transfer.version { Ok(()) } else { Err(Changed) }
    }

    /// Shares with the other transfers of the same open file which parts of it are in memory, so that steps
    /// with [`OnMiss::Report`] query the page cache once a second at most.
    #[must_use]
    pub fn residency(mut self, residency: Arc<Residency>) -> Self {
        self.transfer.set_residency(residency);
        self
    }

    /// Moves at most [`Settings::max_per_step`] bytes to `out`, which must be the same socket at
    /// every step.
    ///
    /// # Errors
    /// The kernel's error. `EAGAIN` is no error but [`Progress::NeedsWritable`], `EINTR` is retried, and
    /// after an error of an unsupported via the transfer continues with the next ([`Via::fallback`])
    /// from the same byte. The report has the bytes moved, and the step may be repeated.
    pub fn step(&mut self, out: BorrowedFd<'_>) -> io::Result<Progress> {
        self.step_at_most(out, u64::MAX)
    }

    /// Steps, and moves at most `at_most` bytes, even if that is less than a chunk; with 0 it returns
    /// [`Progress::Moved`]. For a caller that has room for so many, or that shares a socket.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    ///
    /// The bytes of a step that does not reach the end are sent with `MSG_MORE`, so the next one should
    /// follow soon.
    pub fn step_at_most(&mut self, out: BorrowedFd<'_>, at_most: u64) -> io::Result<Progress> {
        let fds = Descriptors { from: (*self.source).as_fd(), to: out };
        self.transfer.step(fds, false, at_most)
    }

    /// Steps; `more` means that the outbox has more to send behind this transfer, `records` that the
    /// socket makes records.
    pub(crate) fn step_before(
        &mut self,
        out: BorrowedFd<'_>,
        more: bool,
        records: bool,
    ) -> io::Result<Progress> {
        self.transfer.records = records;
        let fds = Descriptors { from: (*self.source).as_fd(), to: out };
        self.transfer.step(fds, more, u64::MAX)
    }

    /// Sends all bytes on the calling thread, which blocks on the disk, and returns the report. On a
    /// non-blocking socket it waits with poll(2). With [`Via::Zerocopy`] it returns when the socket has
    /// released the pages.
    ///
    /// # Errors
    /// As [`step`](Self::step). A file that ends early is `UnexpectedEof` with
    /// [`Truncated`](crate::Truncated) inside; an expired `SO_SNDTIMEO` is `TimedOut`.
    pub fn run_blocking(&mut self, out: impl AsFd) -> io::Result<&Report> {
        let out = out.as_fd();
        self.block_on_misses();
        let waits = Waits { sink: Some(out), ..Waits::default() };
        run_blocking::run(self, waits, |transfer| transfer.step(out))?;
        Ok(self.report())
    }

    /// Returns, after [`Progress::NeedsWorker`], the page-in for the next step.
    #[must_use]
    pub fn page_in(&self) -> PageIn {
        self.transfer.page_in(&self.source)
    }

    /// Makes later steps report a page-cache miss ([`OnMiss::Report`]).
    pub fn report_misses(&mut self) {
        self.transfer.set_on_miss(OnMiss::Report);
    }

    /// Makes later steps block on a page-cache miss ([`OnMiss::Block`]), for a caller that may block or
    /// whose page-in has failed.
    pub fn block_on_misses(&mut self) {
        self.transfer.set_on_miss(OnMiss::Block);
    }

    /// Returns whether its file system may [never answer](crate::Device::remote).
    #[must_use]
    pub fn is_remote(&self) -> bool {
        self.transfer.settings.device.remote
    }

    /// Reads the bytes that begin `ahead` bytes in front of the cursor into `buffer`, for an outbox
    /// that sends them together with other segments and counts the sent bytes by
    /// [`advance`](Self::advance). `None` if the read would block and the transfer reports misses.
    pub(crate) fn read_ahead(
        &mut self,
        ahead: u64,
        buffer: &mut [u8],
    ) -> io::Result<Option<usize>> {
        self.transfer.read_ahead((*self.source).as_fd(), ahead, buffer)
    }

    pub(crate) fn advance(&mut self, moved: u64) {
        self.transfer.advance(moved);
        self.transfer.drop_read((*self.source).as_fd());
    }

    /// Returns whether it is so short that an outbox sends it together with the memory in front of it.
    #[must_use]
    pub fn is_inlined(&self) -> bool {
        self.remaining() <= INLINE_MAX && self.is_plain() && !self.transfer.offloads_reads()
    }

    /// Returns at most `most` bytes that begin `ahead` bytes in front of the cursor, if they are in
    /// memory, and records that they are copied.
    pub(crate) fn content(&mut self, ahead: u64, most: usize) -> Option<&[u8]> {
        let Content { bytes, offset } = self.content.as_ref()?;
        let cursor = &self.transfer.cursor;
        let from = (cursor.from.unwrap_or(0) + ahead).checked_sub(*offset)?;
        let left = usize::try_from(cursor.remaining.checked_sub(ahead)?).unwrap_or(most);
        let bytes = bytes.get(usize::try_from(from).ok()?..)?;
        let count = bytes.len().min(left).min(most);
        self.transfer.report.switch_to(Via::Copy);
        (count > 0).then_some(&bytes[..count])
    }

    /// Returns all bytes of a file that is [inlined](Self::is_inlined), if they are in memory.
    pub(crate) fn whole_content(&self) -> Option<(Arc<[u8]>, Range<usize>)> {
        let Content { bytes, offset } = self.content.as_ref().filter(|_| self.is_inlined())?;
        let from = self.transfer.cursor.from.unwrap_or(0).checked_sub(*offset)?;
        let range = usize::try_from(from).ok()?..usize::try_from(from + self.remaining()).ok()?;
        bytes.get(range.clone())?;
        Some((Arc::clone(bytes), range))
    }

    /// Returns the via that the first step will try behind a head in an [outbox](crate::Outbox), with so
    /// many of its bytes in the page cache, if no via is known as unsupported.
    /// [`Report::effective`] has the via that ran.
    #[must_use]
    pub fn intended(&self, cached: u64) -> Via {
        match self.requested() {
            _ if self.is_inlined() => Via::Copy,
            Via::Auto if !self.is_plain() => Via::Cow,
            Via::Auto => auto::intended(self.remaining(), cached),
            requested => requested,
        }
    }

    /// Returns at most `most` bytes that begin `ahead` bytes in front of the cursor, for an event loop
    /// that moves them itself by `via`.
    pub(crate) fn range(&mut self, ahead: u64, most: usize, via: Via) -> FileRange {
        let Transfer { cursor, settings, edits, version, report, .. } = &mut self.transfer;
        report.switch_to(via);
        let remaining = cursor.remaining.saturating_sub(ahead);
        let length = usize::try_from(remaining).unwrap_or(most).min(most);
        FileRange {
            source: Arc::clone(&self.source),
            offset: cursor.from.unwrap_or(0) + ahead,
            length,
            remaining,
            verified: version.is_some() && length as u64 == remaining,
            device: settings.device,
            via,
            edits: edits.clone(),
        }
    }

    /// Returns all remaining bytes, for an event loop that splices them itself.
    #[doc(hidden)]
    pub fn range_to_splice(&mut self) -> FileRange {
        self.range(0, usize::MAX, Via::Splice)
    }

    /// Applies the edits to `bytes`, which were read from `ahead` bytes in front of the cursor.
    pub(crate) fn edit(&self, ahead: u64, bytes: &mut [u8]) {
        let Transfer { cursor, edits, .. } = &self.transfer;
        apply(edits.as_deref().unwrap_or_default(), cursor.from.unwrap_or(0) + ahead, bytes);
    }

    /// Records in the report that its bytes are sent in sealed records.
    pub(crate) fn note_sealed(&mut self) {
        self.transfer.note_sealed();
    }

    /// Returns the requested via.
    #[must_use]
    pub fn requested(&self) -> Via {
        self.transfer.report.requested
    }

    /// Returns whether it has no edits.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.transfer.edits.is_none()
    }

    /// Returns whether a system call has been made or a byte has moved.
    pub(crate) fn has_started(&self) -> bool {
        self.report().calls.total() > 0 || self.report().bytes > 0
    }

    /// Ends with the report.
    pub(crate) fn into_report(self) -> Report {
        self.transfer.report
    }

    /// Returns whether no further step is necessary, not even to wait for a `MSG_ZEROCOPY` completion.
    pub(crate) fn is_done(&self) -> bool {
        self.transfer.is_done()
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

impl fmt::Debug for FileToSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileToSocket")
            .field("remaining", &self.remaining())
            .field("report", self.report())
            .finish_non_exhaustive()
    }
}
