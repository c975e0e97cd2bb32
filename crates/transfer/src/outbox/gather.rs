//! Gathering: several segments in one buffer, sent by one call or sealed as one record.
//!
//! A gather copies memory itself and requests each file range that must be read, so that the
//! same code serves event loops that read by system calls and those that read by operations.

use std::io;
use std::ops::Range;

use super::Outbox;
use super::segment::Segment;
use super::unit::OnShort;
use crate::file_range::FileRange;
use crate::file_to_socket::FileToSocket;
use crate::seal::RecordKind;
use crate::version::Changed;
use crate::via::Via;

mod buffer;

pub use buffer::Gather;

/// The effect of a read on a gather.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gathered {
    /// Gathering continues.
    Next,
    /// The pages of the first segment are not in memory: a page-in is necessary.
    Cold,
    /// A file has been written since its version was taken.
    Changed,
    /// The file in front has ended before its range did.
    Truncated {
        /// The bytes that do not exist.
        missing: u64,
    },
}

impl Outbox {
    /// Begins to gather at most `most` bytes, or as many as the seal takes, in `buffer`, whose contents are
    /// dropped.
    #[doc(hidden)]
    pub fn gather(&mut self, buffer: Vec<u8>, most: usize) -> Gather {
        let start = self.seal_room().prefix;
        let most = self.sealing.as_ref().map_or(most, |it| it.max_plain());
        let (kind, segment, within, ended) = (None, 0, 0, false);
        let (filled, unit, requested) = (start, start, start..start);
        let mut gather =
            Gather { buffer, filled, start, most, kind, segment, within, unit, requested, ended };
        gather.grow_to(start);
        gather
    }

    /// Copies memory up to the next file range that must be read, and returns that range; `None` when the
    /// buffer is complete. `via` returns the via by which the event loop moves a file; with
    /// [`Via::Copy`] and [`Via::Zerocopy`] the file is read.
    #[doc(hidden)]
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
            let records = sealed || self.socket_records;
            let ahead = self.ahead(gather);
            let alone = gather.plain() == 0;
            let segment = self.queue.segments.get_mut(gather.segment)?;
            if let Some(kind) = segment.kind() {
                if records && gather.kind.is_some_and(|other| other != kind) {
                    return None;
                }
                gather.kind = Some(kind);
            }
            let effective = match segment {
                Segment::Mark(_) => {
                    gather.segment += 1;
                    continue;
                }
                Segment::Seal(_) | Segment::Switch(_) | Segment::Raw { .. } => return None,
                Segment::Memory { bytes, sent, .. } => {
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
                    let inlined = !alone && file.is_inlined();
                    if inlined
                        && !sealed
                        && let Some(bytes) = file.content(gather.within, room)
                    {
                        gather.push(bytes);
                        let count = bytes.len() as u64;
                        self.gathered_bytes(gather, count);
                        continue;
                    }
                    let effective =
                        if inlined || sealed || !file.is_plain() { Via::Copy } else { via(file) };
                    if !matches!(effective, Via::Copy | Via::Zerocopy) {
                        return None;
                    }
                    effective
                }
                Segment::Unit(unit) => {
                    if gather.within == 0 {
                        (gather.unit, unit.gathered) = (gather.filled, true);
                    }
                    let head = unit.head();
                    let at = usize::try_from(gather.within).unwrap_or(usize::MAX);
                    if let Some(rest) = head.get(at..).filter(|rest| !rest.is_empty()) {
                        let count = rest.len().min(room);
                        gather.push(&rest[..count]);
                        self.gathered_bytes(gather, count as u64);
                        continue;
                    }
                    Via::Copy
                }
            };
            return self.range_to_read(gather, ahead, room, effective);
        }
    }

    /// Requests the next range of the current file.
    fn range_to_read(
        &mut self,
        gather: &mut Gather,
        ahead: u64,
        room: usize,
        via: Via,
    ) -> Option<FileRange> {
        let is_unit = matches!(self.queue.segments.get(gather.segment), Some(Segment::Unit(_)));
        let queue = &mut *self.queue;
        let (file, left) = match queue.segments.get_mut(gather.segment)? {
            Segment::File(file) => {
                let left = file.remaining() - gather.within;
                (&mut **file, left)
            }
            Segment::Unit(unit) => {
                let left = unit.remaining() - gather.within;
                let short = unit.short;
                match queue.files.get_mut(unit.file) {
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
        if is_unit
            && file.is_plain()
            && let Some(bytes) = file.content(ahead, count)
        {
            gather.push(bytes);
            let count = bytes.len() as u64;
            self.gathered_bytes(gather, count);
            return self.gather_next(gather, |_| Via::Copy);
        }
        gather.requested = gather.filled..gather.filled + count;
        gather.grow_to(gather.requested.end);
        Some(file.range(ahead, count, via))
    }

    /// Returns how far in front of its transfer's cursor the next range of the current file begins.
    fn ahead(&self, gather: &Gather) -> u64 {
        let Some(Segment::Unit(unit)) = self.queue.segments.get(gather.segment) else {
            return gather.within;
        };
        let before = self.queue.segments.iter().take(gather.segment).map(|segment| match segment {
            Segment::Unit(other) if other.file == unit.file && !other.short => other.body,
            _ => 0,
        });
        before.sum::<u64>() + gather.within.saturating_sub(unit.head().len() as u64)
    }

    /// Reads the requested range by system calls. `None` if that would block and the transfer reports
    /// misses.
    ///
    /// # Errors
    /// As pread(2).
    pub(super) fn gather_read(&mut self, gather: &mut Gather) -> io::Result<Option<usize>> {
        let (ahead, requested) = (self.ahead(gather), gather.requested.clone());
        let queue = &mut *self.queue;
        let file = match queue.segments.get_mut(gather.segment) {
            Some(Segment::File(file)) => Some(&mut **file),
            Some(Segment::Unit(unit)) => queue.files.get_mut(unit.file),
            _ => None,
        };
        match file {
            Some(file) => file.read_ahead(ahead, &mut gather.buffer[requested]),
            None => Ok(Some(0)),
        }
    }

    /// Takes the result of the requested read; `None` means that the pages are not in memory.
    #[doc(hidden)]
    pub fn gathered(&mut self, gather: &mut Gather, read: Option<usize>) -> Gathered {
        let requested = std::mem::replace(&mut gather.requested, 0..0);
        let read = read.map(|count| count.min(requested.len()));
        gather.filled = requested.start + read.unwrap_or(0);
        match read {
            None => self.found_cold(gather),
            Some(0) => self.found_end(gather, requested.len()),
            Some(count) => {
                let changed = self.verify(gather, count).is_err();
                self.edit(gather, &requested, count);
                gather.ended |= count < requested.len();
                self.gathered_bytes(gather, count as u64);
                if changed { Gathered::Changed } else { Gathered::Next }
            }
        }
    }

    /// Verifies the current file, if the bytes that were read are its last. The frame of a stream is completed,
    /// and the stream is reset.
    fn verify(&mut self, gather: &Gather, count: usize) -> Result<(), Changed> {
        let ahead = self.ahead(gather);
        let queue = &mut *self.queue;
        match queue.segments.get_mut(gather.segment) {
            Some(Segment::File(file)) => file.verify(ahead, count),
            Some(Segment::Unit(unit)) => {
                let verified = queue.files.get_mut(unit.file).map(|file| file.verify(ahead, count));
                match verified {
                    Some(Err(_)) if unit.on_short == OnShort::ZeroFill => {
                        unit.short = true;
                        let tag = unit.tag;
                        self.remove_changed(tag);
                        Ok(())
                    }
                    verified => verified.unwrap_or(Ok(())),
                }
            }
            _ => Ok(()),
        }
    }

    fn edit(&self, gather: &mut Gather, requested: &Range<usize>, count: usize) {
        let file = match self.queue.segments.get(gather.segment) {
            Some(Segment::File(file)) => Some(&**file),
            Some(Segment::Unit(unit)) => self.queue.files.get(unit.file),
            _ => None,
        };
        if let Some(file) = file.filter(|file| !file.is_plain()) {
            let ahead = self.ahead(gather);
            file.edit(ahead, &mut gather.buffer[requested.start..requested.start + count]);
        }
    }

    fn found_cold(&mut self, gather: &mut Gather) -> Gathered {
        let sealed = self.sealing.is_some();
        match self.queue.segments.get(gather.segment) {
            Some(Segment::Unit(unit))
                if !unit.has_started() && gather.within <= unit.head().len() as u64 =>
            {
                let (tag, file) = (unit.tag, unit.file);
                gather.filled = gather.unit;
                gather.within = 0;
                if let Some(Segment::Unit(unit)) = self.queue.segments.get_mut(gather.segment) {
                    unit.gathered = false;
                }
                self.remove_missed(tag, file);
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
        if let Some(Segment::Unit(unit)) = self.queue.segments.get_mut(gather.segment)
            && unit.on_short == OnShort::ZeroFill
        {
            unit.short = true;
            let tag = unit.tag;
            gather.push_zeros(wanted);
            self.gathered_bytes(gather, wanted as u64);
            self.remove_short(tag);
            return Gathered::Next;
        }
        if gather.plain() > 0 {
            gather.ended = true;
            return Gathered::Next;
        }
        let missing = self.queue.segments.get(gather.segment).map_or(0, Segment::remaining);
        Gathered::Truncated { missing }
    }

    /// Counts bytes of the current segment, and continues with the next if that is complete.
    fn gathered_bytes(&self, gather: &mut Gather, count: u64) {
        gather.within += count;
        let whole = self.queue.segments.get(gather.segment).map_or(0, Segment::remaining);
        if gather.within >= whole {
            gather.segment += 1;
            gather.within = 0;
        }
    }

    /// Ends a gather: with a seal, makes the record, which is then sent as [`memory`](Self::memory);
    /// without one, the caller sends the buffer, and calls [`complete`](Self::complete) and
    /// [`discard_gathered`](Self::discard_gathered). Returns whether more bytes follow.
    ///
    /// # Errors
    /// The seal fails.
    #[doc(hidden)]
    pub fn seal(&mut self, gather: &mut Gather) -> io::Result<bool> {
        let plain = gather.plain() as u64;
        let Some(sealing) = &mut self.sealing else {
            if self.socket_records {
                return Ok(false);
            }
            let behind = self.queue.segments.iter().skip(gather.segment);
            return Ok(behind.map(Segment::remaining).sum::<u64>() > gather.within);
        };
        if plain == 0 {
            // All units in front have been removed.
            return Ok(self.queued > 0);
        }
        let mut record = std::mem::take(&mut gather.buffer);
        record.truncate(gather.filled);
        record.resize(gather.filled + sealing.seal.room().tag, 0);
        sealing.seal.seal(gather.kind.unwrap_or(RecordKind::DATA), &mut record)?;
        sealing.set_record(record, plain);
        self.consume(plain);
        let plain = plain + self.seal_behind()?;
        Ok(self.queued > plain)
    }

    /// Makes short records of other kinds that follow the one that has been made, such as the
    /// `close_notify` behind the last response: one call sends them together, also where the event loop
    /// makes no other. Returns the bytes of their plaintext.
    fn seal_behind(&mut self) -> io::Result<u64> {
        let mut added = 0;
        while let (Some(sealing), Some(Segment::Memory { bytes, sent, kind })) =
            (&mut self.sealing, self.queue.segments.front())
            && *kind != RecordKind::DATA
            && sealing.seal_behind(*kind, &bytes[*sent..])?
        {
            let plain = (bytes.len() - sent) as u64;
            added += plain;
            self.consume(plain);
        }
        Ok(added)
    }

    /// Returns whether the requested range is the last of its gather, so that the send may be linked to the
    /// read, and whether more bytes follow in the outbox.
    #[doc(hidden)]
    #[must_use]
    pub fn is_last(&self, gather: &Gather) -> (bool, bool) {
        let requested = gather.requested.len() as u64;
        let left = |segment: &Segment| segment.remaining() - gather.within - requested;
        let left = self.queue.segments.get(gather.segment).map_or(0, left);
        let behind: u64 =
            self.queue.segments.iter().skip(gather.segment + 1).map(Segment::remaining).sum();
        let full = gather.requested.end - gather.start >= gather.most;
        let more = (left > 0 || behind > 0) && !self.socket_records;
        (full || (left == 0 && behind == 0), more)
    }

    /// Returns whether [`seal`](Self::seal) makes records.
    #[doc(hidden)]
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.sealing.is_some()
    }

    /// Discards gathered bytes that have not been sent: the next gather reads them again.
    #[doc(hidden)]
    pub fn discard_gathered(&mut self) {
        for segment in &mut self.queue.segments {
            if let Segment::Unit(unit) = segment {
                unit.gathered = false;
            }
        }
    }
}
