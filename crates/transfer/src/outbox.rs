//! The outbox: an ordered queue of memory and parts of files.
//!
//! A task appends; the event loop pulls. [`Outbox::next_chunk`] selects the next bytes for every kind of
//! event loop: memory, a file by its own transfer, or several segments [gathered](Gather) into
//! one buffer. The event loop sends them and reports by [`Outbox::complete`] how many were sent.
//!
//! Memory in front of another segment is sent with `MSG_MORE` (send(2)), so a response head and
//! the file behind it share TCP segments without the two extra calls of `TCP_CORK`.
//! A small file is inlined: it is read behind the head and both are sent by one `send`, because
//! below some KiB copying costs less than passing pages.
//!
//! Multiplexed protocols append [units](Outbox::push_unit), such as the DATA frames of HTTP/2: a few
//! bytes of memory and a slice of an open file, under the tag of a stream. Runs of units are sent by one
//! call. On a page-cache miss a unit is removed together with the later ones of its tag, so that other
//! streams continue.
//!
//! # Limitations
//!
//! Units are always read and sent, never passed by sendfile(2). A unit whose first byte has been sent
//! must be completed, so if its pages have been evicted meanwhile, it blocks the other streams.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::file_to_socket::FileToSocket;
use crate::seal::{RecordKind, Seal, SealRoom};
use crate::stats::OutboxStats;
use crate::via::Via;

mod bytes;
mod chunk;
mod event;
mod gather;
mod misses;
mod multiplex;
mod queue;
mod sealing;
mod segment;
mod step;
mod switch;
mod unit;
mod vectored;

pub use chunk::Chunk;
pub use event::{Mark, OutboxEvent, Tag, UnitEvent};
pub use gather::{Gather, Gathered};
pub use unit::{FileId, OnShort};

use bytes::Bytes;
use queue::PooledQueue;
use sealing::Sealing;
use segment::Segment;

/// The most memory in front of an inlined file, in bytes.
const INLINE_BEHIND: usize = 16 << 10;

/// The low-water mark: with fewer bytes queued, a task is asked to append more.
const LOW_WATER: u64 = 64 << 10;

/// Queues the bytes that a task has ready to send.
#[derive(Default)]
pub struct Outbox {
    queue: PooledQueue,
    /// The unsent bytes of the segments, plaintext.
    queued: u64,
    /// The sent bytes, plaintext.
    sent: u64,
    sealing: Option<Box<Sealing>>,
    /// The socket makes the records.
    socket_records: bool,
    stats: Option<Box<OutboxStats>>,
    /// The via of the file that ended last.
    via: Option<Via>,
    misses: ReportMisses,
    /// Files on a remote file system report misses, too.
    remote_misses: bool,
}

/// The files that report a page-cache miss instead of blocking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ReportMisses {
    #[default]
    None,
    /// Those that bypass the page cache.
    Direct,
    All,
}

impl Outbox {
    /// Returns an empty outbox.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns an empty buffer for [`push_bytes`](Self::push_bytes), with the capacity of one whose bytes
    /// an outbox of this thread has sent.
    #[must_use]
    pub fn buffer() -> Vec<u8> {
        Bytes::buffer()
    }

    /// Appends memory.
    pub fn push_bytes(&mut self, bytes: Vec<u8>) {
        self.push_record(RecordKind::DATA, bytes);
    }

    /// Appends memory that is sent in records of its own kind if there is a seal.
    pub fn push_record(&mut self, kind: RecordKind, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.push(Segment::Memory { bytes: Bytes::Owned(bytes), sent: 0, kind });
        }
    }

    /// Appends bytes that are never sealed: a record that was sealed elsewhere, or one of a handshake.
    pub fn push_raw(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.push(Segment::Raw { bytes: Bytes::Owned(bytes), sent: 0 });
        }
    }

    /// Appends a part of a file.
    pub fn push_file(&mut self, mut transfer: FileToSocket) {
        if transfer.remaining() == 0 {
            return;
        }
        // Statistics include the report of the transfer.
        if !self.reports_files()
            && let Some((bytes, range)) = transfer.whole_content()
        {
            self.push_content(bytes, range);
        } else {
            self.apply_misses(&mut transfer);
            self.push(Segment::File(Box::new(transfer)));
        }
    }

    /// Appends a part of a small file whose bytes are in memory, without a copy; nothing if the range is
    /// not one of theirs. It has no report.
    #[doc(hidden)]
    pub fn push_content(&mut self, bytes: Arc<[u8]>, range: Range<usize>) {
        let bytes = Bytes::Shared { bytes, range };
        if !bytes.is_empty() {
            self.via = Some(Via::Copy);
            self.push(Segment::Memory { bytes, sent: 0, kind: RecordKind::DATA });
        }
    }

    /// Returns whether [statistics](Self::enable_stats) are kept, so that each file has to be a transfer.
    #[doc(hidden)]
    #[must_use]
    pub fn reports_files(&self) -> bool {
        self.stats.is_some()
    }

    /// Appends a seal: all bytes appended after it are sent in its records.
    pub fn push_seal(&mut self, seal: Box<dyn Seal>) {
        self.push(Segment::Seal(seal));
        self.pass_marks();
    }

    /// Appends the unsent segments of another outbox. Its events and statistics are dropped.
    pub fn append(&mut self, mut other: Self) {
        for segment in other.queue.get_mut().into_iter().flat_map(|queue| &mut queue.segments) {
            if let Segment::File(transfer) = segment {
                self.apply_misses(transfer);
            }
        }
        // A seal in front of all segments has been taken off them.
        if let Some(sealing) = other.sealing.take() {
            self.push(Segment::Seal(sealing.seal));
        }
        self.queued += other.queued;
        if let Some(other) = other.queue.get_mut() {
            self.queue.segments.append(&mut other.segments);
        }
    }

    /// Appends a mark: [`OutboxEvent::Sent`] reports that all bytes before it have been passed to the
    /// kernel.
    pub fn push_mark(&mut self, mark: Mark) {
        self.queue.segments.push_back(Segment::Mark(mark));
        self.pass_marks();
    }

    fn push(&mut self, segment: Segment) {
        self.queued += segment.remaining();
        self.queue.segments.push_back(segment);
    }

    fn apply_misses(&self, transfer: &mut FileToSocket) {
        match self.misses {
            ReportMisses::All => transfer.report_misses(),
            _ if self.remote_misses && transfer.is_remote() => transfer.report_misses(),
            ReportMisses::Direct if transfer.requested() == Via::Direct => transfer.report_misses(),
            ReportMisses::Direct | ReportMisses::None => {}
        }
    }

    /// Returns how many bytes may be appended before the outbox is above its low-water mark.
    #[must_use]
    pub fn room(&self) -> u64 {
        LOW_WATER.saturating_sub(self.queued)
    }

    /// Returns how many bytes have been sent so far, without the overhead of a seal.
    #[must_use]
    pub fn moved(&self) -> u64 {
        self.sent
    }

    /// Returns how many bytes have not been sent, without the overhead of a seal.
    #[must_use]
    pub fn queued(&self) -> u64 {
        self.queued
    }

    /// Returns whether all bytes have been sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.segments.is_empty() && self.record().is_none()
    }

    /// Drops all unsent bytes and all events.
    pub fn clear(&mut self) {
        if let Some(mut stats) = self.stats.take() {
            let started = self.transfers().filter(|file| file.has_started());
            stats.reports.extend(started.map(|file| file.report().clone()));
            self.stats = Some(stats);
        }
        self.via = self.take_via();
        self.queue = PooledQueue::default();
        if let Some(sealing) = &mut self.sealing {
            sealing.clear();
        }
        self.queued = 0;
    }

    /// Returns whether there is an event for the task.
    #[doc(hidden)]
    #[must_use]
    pub fn has_events(&self) -> bool {
        !self.queue.events.is_empty()
    }

    /// Returns the next event for the task.
    pub fn next_event(&mut self) -> Option<OutboxEvent> {
        if !self.queue.is_taken() {
            return None;
        }
        let event = self.queue.events.pop_front();
        if event.is_none() {
            self.queue.release();
        }
        event
    }

    fn count_sent(&mut self, plain: u64) {
        self.sent += plain;
        self.queued = self.queued.saturating_sub(plain);
    }

    /// Counts bytes off the segments in front, and drops those that are complete.
    fn consume(&mut self, mut bytes: u64) {
        while !self.queue.segments.is_empty() {
            let queue = &mut *self.queue;
            let Some(front) = queue.segments.front_mut() else { break };
            bytes -= front.advance(bytes, &mut queue.files);
            if !front.is_complete() {
                break;
            }
            self.drop_front();
        }
        self.pass_marks();
    }

    /// Drops the segment in front; the statistics, if enabled, get the report of a file.
    fn drop_front(&mut self) {
        match self.queue.segments.pop_front() {
            Some(Segment::File(file)) => {
                self.via = Some(file.report().effective);
                if let Some(stats) = &mut self.stats {
                    stats.reports.push(file.into_report());
                }
            }
            Some(Segment::Memory { bytes, .. } | Segment::Raw { bytes, .. }) => bytes.recycle(),
            Some(Segment::Mark(mark)) => self.queue.passed.push(mark),
            _ => {}
        }
    }

    /// Takes marks and seals off the front, up to a switch, which needs the socket. The segments behind a
    /// seal are sealed; a record of the seal before it has to be sent first.
    fn pass_marks(&mut self) {
        loop {
            match self.queue.segments.front() {
                Some(Segment::Mark(_)) => self.drop_front(),
                Some(Segment::Seal(_)) if self.record().is_none() => {
                    if let Some(Segment::Seal(seal)) = self.queue.segments.pop_front() {
                        self.sealing = Some(Box::new(Sealing::new(seal)));
                    }
                }
                _ => break,
            }
        }
        self.deliver_passed();
    }

    /// Reports the passed marks, unless a record in front of them has not been sent completely.
    fn deliver_passed(&mut self) {
        if self.record().is_none() && !self.queue.passed.is_empty() {
            let queue = &mut *self.queue;
            queue.events.extend(queue.passed.drain(..).map(OutboxEvent::Sent));
        }
    }

    /// Returns the sealing if it has a record that has not been sent completely.
    fn record(&self) -> Option<&Sealing> {
        self.sealing.as_deref().filter(|sealing| sealing.has_record())
    }

    fn seal_room(&self) -> SealRoom {
        self.sealing.as_ref().map_or(SealRoom { prefix: 0, tag: 0 }, |sealing| sealing.seal.room())
    }

    fn inlines_small_file(&self) -> bool {
        match (self.queue.segments.front(), self.queue.segments.get(1)) {
            (Some(Segment::Memory { bytes, .. }), Some(behind)) if bytes.len() <= INLINE_BEHIND => {
                behind.is_inlined()
            }
            _ => false,
        }
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("segments", &self.queue.segments)
            .field("queued", &self.queued)
            .field("sent", &self.sent)
            .field("sealed", &self.sealing.is_some())
            .finish_non_exhaustive()
    }
}

/// Implements the conversion from memory, which is copied unless it is owned.
macro_rules! from_memory {
    ($($memory:ty),+) => {$(
        impl From<$memory> for Outbox {
            fn from(bytes: $memory) -> Self {
                let mut outbox = Self::new();
                outbox.push_bytes(bytes.into());
                outbox
            }
        }
    )+};
}

from_memory!(Vec<u8>, String, &[u8], &str);

/// Memory that many outboxes share, without a copy.
impl From<Arc<[u8]>> for Outbox {
    fn from(bytes: Arc<[u8]>) -> Self {
        let mut outbox = Self::new();
        if !bytes.is_empty() {
            let bytes = Bytes::Shared { range: 0..bytes.len(), bytes };
            outbox.push(Segment::Memory { bytes, sent: 0, kind: RecordKind::DATA });
        }
        outbox
    }
}
