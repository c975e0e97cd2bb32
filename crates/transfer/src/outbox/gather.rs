//! Gathering: several segments in one buffer, sent by one call or sealed as one record.
//!
//! A gather copies memory by itself and asks for each file range that has to be read, so that the
//! same code serves a backend that reads by system calls and one that has the kernel read.

use std::io;
use std::ops::Range;

use super::Outbox;
use super::segment::Segment;
use super::unit::OnShort;
use crate::file_range::FileRange;
use crate::file_to_socket::FileToSocket;
use crate::seal::RecordKind;
use crate::via::Via;

/// Pieces on their way into one buffer.
#[derive(Debug)]
pub struct Gather {
    /// As long as it ever was, so that no byte is cleared that will be overwritten.
    buffer: Vec<u8>,
    /// Where the plaintext ends.
    filled: usize,
    /// Where the plaintext begins.
    start: usize,
    /// The most plaintext.
    most: usize,
    kind: Option<RecordKind>,
    /// The segment reached, counted from the front, and how many bytes of it are in the buffer.
    segment: usize,
    within: u64,
    /// Where in the buffer the unit that was reached begins.
    unit: usize,
    /// Where in the buffer the range goes that has to be read.
    asked: Range<usize>,
    ended: bool,
}

/// How a read came out for the gather.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gathered {
    /// Gathering goes on.
    Next,
    /// The pages of the first piece are not in memory: a page-in comes first.
    Cold,
    /// The file in front has ended before its range did, by so many bytes.
    Truncated {
        /// Bytes that do not exist.
        missing: u64,
    },
}

impl Gather {
    /// Returns what has been gathered.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }

    /// Lends the buffer to an operation that reads the range that was asked for into its end. Returns
    /// it and where the range begins.
    pub fn lend(&mut self) -> (Vec<u8>, usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.truncate(self.asked.end);
        (buffer, self.asked.start)
    }

    /// Takes back the buffer that was lent.
    pub fn give_back(&mut self, buffer: Vec<u8>) {
        self.buffer = buffer;
    }

    /// Returns how many bytes were asked for.
    #[must_use]
    pub fn asked_length(&self) -> usize {
        self.asked.len()
    }

    /// Ends with the buffer: what has been gathered, and nothing else.
    #[must_use]
    pub fn into_bytes(mut self) -> Vec<u8> {
        self.buffer.truncate(self.filled);
        self.buffer
    }

    /// Ends with the buffer, for its capacity.
    #[must_use]
    pub fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    fn plain(&self) -> usize {
        self.filled - self.start
    }

    fn push(&mut self, bytes: &[u8]) {
        let end = self.filled + bytes.len();
        self.grow_to(end);
        self.buffer[self.filled..end].copy_from_slice(bytes);
        self.filled = end;
    }

    fn push_zeros(&mut self, count: usize) {
        let end = self.filled + count;
        self.grow_to(end);
        self.buffer[self.filled..end].fill(0);
        self.filled = end;
    }

    fn grow_to(&mut self, length: usize) {
        if self.buffer.len() < length {
            self.buffer.resize(length, 0);
        }
    }
}

impl Outbox {
    /// Begins to gather at most `most` bytes, or what the seal takes, in `buffer`, whose contents are
    /// dropped.
    pub fn gather(&mut self, buffer: Vec<u8>, most: usize) -> Gather {
        let start = self.seal_room().prefix;
        let idle = self.sent == 0;
        let most = self.sealing.as_ref().map_or(most, |it| it.seal.max_plain(idle).max(1));
        let (kind, segment, within, ended) = (None, 0, 0, false);
        let (filled, unit, asked) = (start, start, start..start);
        let mut gather =
            Gather { buffer, filled, start, most, kind, segment, within, unit, asked, ended };
        gather.grow_to(start);
        gather
    }

    /// Copies memory up to the next file range that has to be read, and returns that; `None` when
    /// everything that leaves together is in the buffer. `via` says by which via the backend moves a
    /// file that was to leave by another; by [`Via::Copy`] and [`Via::Zerocopy`] it is read.
    pub fn gather_next(
        &mut self,
        gather: &mut Gather,
        via: impl Fn(&FileToSocket) -> Via,
    ) -> Option<FileRange> {
        loop {
            let room = gather.most.saturating_sub(gather.plain());
            if room == 0 || gather.ended {
                return None;
            }
            let sealed = self.sealing.is_some();
            let ahead = self.ahead(gather);
            let alone = gather.plain() == 0;
            let ran = match self.segments.get_mut(gather.segment)? {
                Segment::Mark(_) => {
                    gather.segment += 1;
                    continue;
                }
                Segment::Seal(_) | Segment::Raw { .. } => return None,
                Segment::Memory { bytes, sent, kind } => {
                    if sealed && gather.kind.is_some_and(|other| other != *kind) {
                        return None;
                    }
                    gather.kind = Some(*kind);
                    let at = *sent + usize::try_from(gather.within).unwrap_or(usize::MAX);
                    let count = room.min(bytes.len() - at);
                    gather.push(&bytes[at..at + count]);
                    self.gathered_bytes(gather, count as u64);
                    continue;
                }
                Segment::File(file) => {
                    if sealed {
                        file.note_sealed();
                    }
                    let inlined = !alone && file.rides_along();
                    let ran =
                        if inlined || sealed || !file.is_plain() { Via::Copy } else { via(file) };
                    if !matches!(ran, Via::Copy | Via::Zerocopy) {
                        return None;
                    }
                    ran
                }
                Segment::Unit(unit) => {
                    if gather.within == 0 {
                        gather.unit = gather.filled;
                    }
                    let head = unit.head();
                    let at = usize::try_from(gather.within).unwrap_or(usize::MAX);
                    if let Some(rest) = head.get(at..).filter(|rest| !rest.is_empty()) {
                        let count = rest.len().min(room);
                        gather.push(&rest[..count]);
                        unit.gathered = true;
                        self.gathered_bytes(gather, count as u64);
                        continue;
                    }
                    Via::Copy
                }
            };
            if sealed && gather.kind.is_some_and(|kind| kind != RecordKind::DATA) {
                return None;
            }
            gather.kind = Some(RecordKind::DATA);
            return self.range_to_read(gather, ahead, room, ran);
        }
    }

    /// Asks for the next range of the file that was reached.
    fn range_to_read(
        &mut self,
        gather: &mut Gather,
        ahead: u64,
        room: usize,
        via: Via,
    ) -> Option<FileRange> {
        let (file, left) = match self.segments.get_mut(gather.segment)? {
            Segment::File(file) => {
                let left = file.remaining() - gather.within;
                (&mut **file, left)
            }
            Segment::Unit(unit) => {
                let left = unit.remaining() - gather.within;
                let short = unit.short;
                match self.files.get_mut(unit.file) {
                    Some(file) if !short => (file, left),
                    _ => {
                        let count = usize::try_from(left).unwrap_or(room).min(room);
                        gather.push_zeros(count);
                        self.gathered_bytes(gather, count as u64);
                        return self.gather_next(gather, |_| Via::Copy);
                    }
                }
            }
            _ => return None,
        };
        let count = usize::try_from(left).unwrap_or(room).min(room);
        gather.asked = gather.filled..gather.filled + count;
        gather.grow_to(gather.asked.end);
        Some(file.range(ahead, count, via))
    }

    /// Returns how far in front of its transfer the next range of the file begins that was reached.
    fn ahead(&self, gather: &Gather) -> u64 {
        let Some(Segment::Unit(unit)) = self.segments.get(gather.segment) else {
            return gather.within;
        };
        let before = self.segments.iter().take(gather.segment).map(|segment| match segment {
            Segment::Unit(other) if other.file == unit.file && !other.short => other.body,
            _ => 0,
        });
        before.sum::<u64>() + gather.within.saturating_sub(unit.head().len() as u64)
    }

    /// Reads the range that was asked for, as system calls do. `None` if that would wait for a disk
    /// and the transfer reports such.
    ///
    /// # Errors
    /// As pread(2).
    pub(super) fn gather_read(&mut self, gather: &mut Gather) -> io::Result<Option<usize>> {
        let (ahead, asked) = (self.ahead(gather), gather.asked.clone());
        let file = match self.segments.get_mut(gather.segment) {
            Some(Segment::File(file)) => Some(&mut **file),
            Some(Segment::Unit(unit)) => self.files.get_mut(unit.file),
            _ => None,
        };
        match file {
            Some(file) => file.read_ahead(ahead, &mut gather.buffer[asked]),
            None => Ok(Some(0)),
        }
    }

    /// Takes the result of the read that was asked for; `None`: the pages are not in memory.
    pub fn gathered(&mut self, gather: &mut Gather, read: Option<usize>) -> Gathered {
        let asked = std::mem::replace(&mut gather.asked, 0..0);
        let read = read.map(|count| count.min(asked.len()));
        gather.filled = asked.start + read.unwrap_or(0);
        match read {
            None => self.found_cold(gather),
            Some(0) => self.found_end(gather, asked.len()),
            Some(count) => {
                self.edit(gather, &asked, count);
                gather.ended |= count < asked.len();
                self.gathered_bytes(gather, count as u64);
                Gathered::Next
            }
        }
    }

    fn edit(&self, gather: &mut Gather, asked: &Range<usize>, count: usize) {
        if let Some(Segment::File(file)) = self.segments.get(gather.segment) {
            file.edit(gather.within, &mut gather.buffer[asked.start..asked.start + count]);
        }
    }

    fn found_cold(&mut self, gather: &mut Gather) -> Gathered {
        let sealed = self.sealing.is_some();
        match self.segments.get(gather.segment) {
            Some(Segment::Unit(unit))
                if !unit.has_begun() && gather.within <= unit.head().len() as u64 =>
            {
                let (tag, file) = (unit.tag, unit.file);
                gather.filled = gather.unit;
                gather.within = 0;
                if let Some(Segment::Unit(unit)) = self.segments.get_mut(gather.segment) {
                    unit.gathered = false;
                }
                self.return_cold(tag, file);
                Gathered::Next
            }
            Some(Segment::Unit(_)) if gather.plain() > 0 => {
                gather.ended = true;
                Gathered::Next
            }
            Some(Segment::File(_)) if sealed && gather.plain() > 0 => {
                gather.ended = true;
                Gathered::Next
            }
            _ => Gathered::Cold,
        }
    }

    fn found_end(&mut self, gather: &mut Gather, wanted: usize) -> Gathered {
        if let Some(Segment::Unit(unit)) = self.segments.get_mut(gather.segment)
            && unit.on_short == OnShort::ZeroFill
        {
            unit.short = true;
            let tag = unit.tag;
            gather.push_zeros(wanted);
            self.gathered_bytes(gather, wanted as u64);
            self.return_short(tag);
            return Gathered::Next;
        }
        if gather.plain() > 0 {
            gather.ended = true;
            return Gathered::Next;
        }
        let missing = self.segments.get(gather.segment).map_or(0, Segment::remaining);
        Gathered::Truncated { missing }
    }

    /// Counts bytes of the segment that was reached, and goes on to the next where that is all of it.
    fn gathered_bytes(&self, gather: &mut Gather, count: u64) {
        gather.within += count;
        let whole = self.segments.get(gather.segment).map_or(0, Segment::remaining);
        if gather.within >= whole {
            gather.segment += 1;
            gather.within = 0;
        }
    }

    /// Ends a gather: with a seal, makes the record, which then leaves as [`memory`](Self::memory);
    /// without one, the buffer is to be sent, and [`complete`](Self::complete) and
    /// [`release`](Self::release) called. Returns whether something follows behind it.
    ///
    /// # Errors
    /// The seal refuses.
    pub fn seal(&mut self, gather: &mut Gather) -> io::Result<bool> {
        let plain = gather.plain() as u64;
        let Some(sealing) = &mut self.sealing else {
            let behind = self.segments.iter().skip(gather.segment);
            return Ok(behind.map(Segment::remaining).sum::<u64>() > gather.within);
        };
        let mut record = std::mem::take(&mut gather.buffer);
        record.truncate(gather.filled);
        record.resize(gather.filled + sealing.seal.room().tag, 0);
        sealing.seal.seal(gather.kind.unwrap_or(RecordKind::DATA), &mut record)?;
        (sealing.record, sealing.sent, sealing.plain) = (record, 0, plain);
        self.settle(plain);
        Ok(self.queued > plain)
    }

    /// Returns whether the range that was asked for is the last of its gather, and whether something
    /// follows behind it in the outbox: then the send may be linked to the read.
    #[must_use]
    pub fn is_last(&self, gather: &Gather) -> (bool, bool) {
        let asked = gather.asked.len() as u64;
        let left = |segment: &Segment| segment.remaining() - gather.within - asked;
        let left = self.segments.get(gather.segment).map_or(0, left);
        let behind: u64 =
            self.segments.iter().skip(gather.segment + 1).map(Segment::remaining).sum();
        let full = gather.asked.end - gather.start >= gather.most;
        (full || (left == 0 && behind == 0), left > 0 || behind > 0)
    }

    /// Returns whether [`seal`](Self::seal) makes records.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.sealing.is_some()
    }

    /// Lets go of what was gathered and has not left: it is read again for the next gather.
    pub fn release(&mut self) {
        for segment in &mut self.segments {
            if let Segment::Unit(unit) = segment {
                unit.gathered = false;
            }
        }
    }
}
