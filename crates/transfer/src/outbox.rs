//! The outbox: memory and parts of files, in the order in which they are to leave.
//!
//! A task appends; a backend pulls. [`Outbox::next_chunk`] decides what leaves next, whichever backend
//! asks: memory as it stands, a file by its own transfer, or several pieces [gathered](Gather) into
//! one buffer. The backend moves that and reports how much has left by [`Outbox::complete`].
//!
//! Memory that is followed by something leaves with `MSG_MORE` (send(2)), so a response head and
//! the file behind it share segments on the wire without the two extra calls of `TCP_CORK`.
//! A small file is inlined: it is read behind the head and both leave in one `send`, because
//! below some KiB copying costs less than passing pages.
//!
//! Multiplexed protocols append [units](Outbox::push_unit), such as the DATA frames of HTTP/2: a few
//! bytes of memory and a slice of an open file, under the tag of a stream. Runs of units leave by one
//! send. A unit whose pages are not in memory is taken back together with the later ones of its tag,
//! so that other streams go on.
//!
//! # Limitations
//!
//! Units are always read and sent; none leaves by sendfile(2). A unit of which the first byte has left
//! has to be completed, so if its pages have been evicted meanwhile, the others wait.

use std::collections::VecDeque;

use crate::file_to_socket::FileToSocket;
use crate::ledger::Ledger;
use crate::residency::ColdPart;
use crate::seal::{RecordKind, Seal, SealRoom};
use crate::via::Via;

mod gather;
mod segment;
mod step;
mod unit;

pub use gather::{Gather, Gathered};
pub use unit::{FileId, OnShort, Tag, UnitEvent};

use segment::Segment;
use unit::Files;

/// The most memory in front of it that a small file is inlined behind, in bytes.
const INLINE_BEHIND: usize = 16 << 10;

/// The low-water mark: with fewer bytes queued, a task is asked to append more.
const LOW_WATER: u64 = 64 << 10;

/// Queues what a task has ready to leave.
#[derive(Default)]
pub struct Outbox {
    segments: VecDeque<Segment>,
    /// Bytes of the segments that have not left, plaintext.
    queued: u64,
    /// Bytes that have left, plaintext.
    sent: u64,
    files: Files,
    events: VecDeque<OutboxEvent>,
    /// Marks that have been passed by a record which has not left yet.
    passed: Vec<Mark>,
    sealing: Option<Box<Sealing>>,
    ledger: Option<Box<Ledger>>,
    reports: Reports,
    /// Files whose file system may never answer report, too.
    reports_remote: bool,
}

/// Which files say that their pages are not in memory instead of waiting for a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reports {
    #[default]
    Nothing,
    /// Those that bypass the page cache.
    Direct,
    All,
}

/// What leaves next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// Memory as it stands ([`Outbox::memory`]). `more`: something follows behind it.
    Memory {
        /// Something follows behind it, so it may leave with `MSG_MORE`.
        more: bool,
    },
    /// The rest of a file, moved by its own transfer ([`Outbox::file`]).
    File {
        /// Something follows behind the file.
        more: bool,
    },
    /// Pieces to be read into one buffer and sent by one call ([`Outbox::gather`]).
    Gather,
    /// Nothing: everything has left.
    Empty,
}

/// A place in what leaves, chosen by the task: see [`Outbox::push_mark`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(pub u64);

/// What an outbox has to tell its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutboxEvent {
    /// Everything before this mark has been handed to the kernel.
    Sent(Mark),
    /// Something happened to the units of a tag.
    Unit(Tag, UnitEvent),
}

/// A seal, and the record that has not left.
struct Sealing {
    seal: Box<dyn Seal>,
    record: Vec<u8>,
    /// How many bytes of the record have left.
    sent: usize,
    /// How many bytes of plaintext the record holds.
    plain: u64,
}

impl Outbox {
    /// Returns an outbox with nothing to send.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends memory.
    pub fn push_bytes(&mut self, bytes: Vec<u8>) {
        self.push_record(RecordKind::DATA, bytes);
    }

    /// Appends memory that leaves in records of its own kind where there is a seal.
    pub fn push_record(&mut self, kind: RecordKind, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.push(Segment::Memory { bytes, sent: 0, kind });
        }
    }

    /// Appends bytes that are never sealed: a record that was sealed elsewhere, or one of a handshake.
    pub fn push_raw(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.push(Segment::Raw { bytes, sent: 0 });
        }
    }

    /// Appends a part of a file.
    pub fn push_file(&mut self, mut transfer: FileToSocket) {
        if transfer.remaining() > 0 {
            self.apply_reports(&mut transfer);
            self.push(Segment::File(Box::new(transfer)));
        }
    }

    /// Appends a seal: everything that is appended after it leaves in its records.
    pub fn push_seal(&mut self, seal: Box<dyn Seal>) {
        self.push(Segment::Seal(seal));
    }

    /// Appends everything that another outbox has not sent. Its events and statistics are dropped.
    pub fn append(&mut self, mut other: Self) {
        for segment in &mut other.segments {
            if let Segment::File(transfer) = segment {
                self.apply_reports(transfer);
            }
        }
        self.queued += other.queued;
        if self.segments.is_empty() {
            self.segments = other.segments;
        } else {
            self.segments.append(&mut other.segments);
        }
    }

    /// Appends a mark: [`OutboxEvent::Sent`] tells when everything before it has been handed to the
    /// kernel.
    pub fn push_mark(&mut self, mark: Mark) {
        self.segments.push_back(Segment::Mark(mark));
        self.pass_marks();
    }

    fn push(&mut self, segment: Segment) {
        self.queued += segment.remaining();
        self.segments.push_back(segment);
    }

    /// Returns how many bytes may be appended before the outbox is above its low-water mark.
    #[must_use]
    pub fn room(&self) -> u64 {
        LOW_WATER.saturating_sub(self.queued)
    }

    /// Returns how many bytes have left so far, without what a seal adds.
    #[must_use]
    pub fn moved(&self) -> u64 {
        self.sent
    }

    /// Returns how many bytes have not left, without what a seal adds.
    #[must_use]
    pub fn queued(&self) -> u64 {
        self.queued
    }

    /// Returns whether everything has left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.record().is_none()
    }

    /// Drops everything that has not left, and what there was to tell of it.
    pub fn clear(&mut self) {
        if let Some(mut ledger) = self.ledger.take() {
            let begun = self.transfers().filter(|file| file.has_begun());
            ledger.reports.extend(begun.map(|file| file.report().clone()));
            self.ledger = Some(ledger);
        }
        self.segments.clear();
        self.files = Files::default();
        self.events.clear();
        self.passed.clear();
        if let Some(sealing) = &mut self.sealing {
            (sealing.sent, sealing.plain) = (0, 0);
            sealing.record.clear();
        }
        self.queued = 0;
    }

    /// Returns what there is to tell the task, in order.
    pub fn next_event(&mut self) -> Option<OutboxEvent> {
        self.events.pop_front()
    }

    /// Returns what leaves next. Of a file, `reads` says whether the backend reads it into a buffer
    /// and sends that, instead of having its transfer move it.
    pub fn next_chunk(&mut self, reads: impl Fn(&FileToSocket) -> bool) -> Chunk {
        if let Some(sealing) = self.record() {
            return Chunk::Memory { more: self.queued > sealing.plain };
        }
        self.install_seals();
        let sealed = self.sealing.is_some();
        let inlines = self.inlines_small_file();
        // Marks and seals have no bytes, and nothing may wait for them (`MSG_MORE`).
        let more = self.segments.front().is_some_and(|front| self.queued > front.remaining());
        match self.segments.front() {
            None => Chunk::Empty,
            Some(Segment::Raw { .. }) => Chunk::Memory { more },
            Some(Segment::Memory { .. }) if sealed || inlines => Chunk::Gather,
            Some(Segment::Memory { .. }) => match self.segments.get(1) {
                Some(Segment::Unit(_)) => Chunk::Gather,
                Some(Segment::File(file)) if reads(file) => Chunk::Gather,
                _ => Chunk::Memory { more },
            },
            Some(Segment::File(file)) if sealed || reads(file) => Chunk::Gather,
            Some(Segment::File(_)) => Chunk::File { more },
            // Marks and seals in front have been passed.
            Some(Segment::Unit(_) | Segment::Mark(_) | Segment::Seal(_)) => Chunk::Gather,
        }
    }

    /// Returns the memory of a [`Chunk::Memory`].
    #[must_use]
    pub fn memory(&self) -> &[u8] {
        if let Some(sealing) = self.record() {
            return &sealing.record[sealing.sent..];
        }
        match self.segments.front() {
            Some(Segment::Memory { bytes, sent, .. } | Segment::Raw { bytes, sent }) => {
                &bytes[*sent..]
            }
            _ => &[],
        }
    }

    /// Returns the transfer of a [`Chunk::File`].
    pub fn file(&mut self) -> Option<&mut FileToSocket> {
        match self.segments.front_mut() {
            Some(Segment::File(transfer)) => Some(transfer),
            _ => None,
        }
    }

    /// Counts bytes of the last chunk that have left, in order.
    pub fn complete(&mut self, sent: usize) {
        if let Some(sealing) = self.sealing.as_mut().filter(|sealing| !sealing.record.is_empty()) {
            sealing.sent += sent;
            if sealing.sent >= sealing.record.len() {
                let plain = std::mem::take(&mut sealing.plain);
                sealing.record.clear();
                sealing.sent = 0;
                self.count_sent(plain);
                self.deliver_passed();
            }
            return;
        }
        self.settle(sent as u64);
        self.count_sent(sent as u64);
    }

    fn count_sent(&mut self, plain: u64) {
        self.sent += plain;
        self.queued = self.queued.saturating_sub(plain);
    }

    /// Counts bytes off the segments in front, and drops those that are complete.
    fn settle(&mut self, mut bytes: u64) {
        while let Some(front) = self.segments.front_mut() {
            bytes -= front.advance(bytes, &mut self.files);
            if !front.is_complete() {
                break;
            }
            self.drop_front();
        }
        self.pass_marks();
    }

    /// Drops the segment in front; if statistics are kept, the report of a file goes there.
    fn drop_front(&mut self) {
        match (self.segments.pop_front(), &mut self.ledger) {
            (Some(Segment::File(file)), Some(ledger)) => ledger.reports.push(file.into_report()),
            (Some(Segment::Mark(mark)), _) => self.passed.push(mark),
            _ => {}
        }
    }

    /// Takes marks off the front.
    fn pass_marks(&mut self) {
        while let Some(Segment::Mark(_)) = self.segments.front() {
            self.drop_front();
        }
        self.deliver_passed();
    }

    /// Reports the marks that have been passed, unless they are behind a record that has not left.
    fn deliver_passed(&mut self) {
        if self.record().is_none() {
            self.events.extend(self.passed.drain(..).map(OutboxEvent::Sent));
        }
    }

    /// Takes seals off the front: what is behind them is sealed.
    fn install_seals(&mut self) {
        while let Some(Segment::Seal(_)) = self.segments.front() {
            if let Some(Segment::Seal(seal)) = self.segments.pop_front() {
                let (record, sent, plain) = (Vec::new(), 0, 0);
                self.sealing = Some(Box::new(Sealing { seal, record, sent, plain }));
            }
            self.pass_marks();
        }
    }

    /// Returns the sealing whose record has not left.
    fn record(&self) -> Option<&Sealing> {
        self.sealing.as_deref().filter(|sealing| !sealing.record.is_empty())
    }

    fn seal_room(&self) -> SealRoom {
        self.sealing.as_ref().map_or(SealRoom { prefix: 0, tag: 0 }, |sealing| sealing.seal.room())
    }

    fn inlines_small_file(&self) -> bool {
        match (self.segments.front(), self.segments.get(1)) {
            (Some(Segment::Memory { bytes, .. }), Some(Segment::File(transfer))) => {
                bytes.len() <= INLINE_BEHIND && transfer.rides_along()
            }
            _ => false,
        }
    }
}

/// Statistics, and what is to be done where pages are not in memory.
impl Outbox {
    /// From now on a [ledger](Ledger) is kept of what is done.
    pub fn keep_ledger(&mut self) {
        self.ledger.get_or_insert_default();
    }

    /// Closes the ledger, if one was kept: what has not left yet is in it as far as it came.
    pub fn take_ledger(&mut self) -> Option<Ledger> {
        let mut ledger = *self.ledger.take()?;
        let files = self.transfers().filter(|file| file.has_begun());
        ledger.reports.extend(files.map(|file| file.report().clone()));
        Some(ledger)
    }

    /// Counts operations by which a backend moves chunks itself, if a ledger is kept.
    pub fn count_operations(&mut self, count: u64) {
        if let Some(ledger) = &mut self.ledger {
            ledger.operations += count;
        }
    }

    fn count_send(&mut self) {
        if let Some(ledger) = &mut self.ledger {
            ledger.sends += 1;
        }
    }

    /// After [`Progress::NeedsWorker`](crate::Progress::NeedsWorker): what has to be read from the
    /// disk for the next step.
    #[must_use]
    pub fn cold_part(&self) -> Option<ColdPart> {
        let part = match self.segments.iter().find(|segment| segment.is_of_file())? {
            Segment::File(transfer) => transfer.cold_part(),
            Segment::Unit(unit) => self.files.get(unit.file)?.cold_part(),
            _ => return None,
        };
        Some(self.measured(part))
    }

    /// The same part; what it costs to read is entered in the ledger, if one is kept.
    fn measured(&self, part: ColdPart) -> ColdPart {
        match &self.ledger {
            Some(ledger) => part.tell(&ledger.warmth),
            None => part,
        }
    }

    /// From now on a step that would wait for a disk says so
    /// ([`Progress::NeedsWorker`](crate::Progress::NeedsWorker)), also for files appended later.
    pub fn tell_cold(&mut self) {
        self.reports = Reports::All;
        self.transfers().for_each(FileToSocket::tell_cold);
    }

    /// The same, but only for what bypasses the page cache ([`Via::Direct`]): for a model that can
    /// read that by itself, and nothing else.
    pub fn tell_direct(&mut self) {
        self.reports = Reports::Direct;
        let direct = |file: &&mut FileToSocket| file.asked() == Via::Direct;
        self.transfers().filter(direct).for_each(FileToSocket::tell_cold);
    }

    /// The same, but only for files whose file system may [never answer](crate::Device::remote).
    pub fn tell_remote(&mut self) {
        self.reports_remote = true;
        self.transfers().filter(|file| file.is_remote()).for_each(FileToSocket::tell_cold);
    }

    fn apply_reports(&self, transfer: &mut FileToSocket) {
        match self.reports {
            Reports::All => transfer.tell_cold(),
            _ if self.reports_remote && transfer.is_remote() => transfer.tell_cold(),
            Reports::Direct if transfer.asked() == Via::Direct => transfer.tell_cold(),
            Reports::Direct | Reports::Nothing => {}
        }
    }

    /// From now on steps of the files that are in it wait for the disk again: for a caller that may
    /// wait, or whose [warming](ColdPart::warm) is in vain.
    pub fn wait_for_disk(&mut self) {
        self.transfers().for_each(FileToSocket::wait_for_disk);
    }

    fn transfers(&mut self) -> impl Iterator<Item = &mut FileToSocket> {
        let queued = self.segments.iter_mut().filter_map(|segment| match segment {
            Segment::File(transfer) => Some(&mut **transfer),
            _ => None,
        });
        queued.chain(self.files.iter_mut())
    }
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox")
            .field("segments", &self.segments)
            .field("queued", &self.queued)
            .field("sent", &self.sent)
            .field("sealed", &self.sealing.is_some())
            .finish_non_exhaustive()
    }
}

impl From<Vec<u8>> for Outbox {
    fn from(bytes: Vec<u8>) -> Self {
        let mut outbox = Self::new();
        outbox.push_bytes(bytes);
        outbox
    }
}
