//! The outbox: memory and parts of files, in the order in which they are to leave.
//!
//! Memory that is followed by something leaves with `MSG_MORE` (send(2)), so a response head and
//! the file behind it share segments on the wire without the two extra calls of `TCP_CORK`.
//! A small file rides along: it is read behind the head and both leave in one `send`, because
//! below some KiB copying costs less than passing pages.

use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;

use crate::file_to_socket::FileToSocket;
use crate::interrupted::retry;
use crate::ledger::Ledger;
use crate::portion::Portion;
use crate::residency::ColdPart;
use crate::scratch;
use crate::step::Progress;
use crate::via::Via;

/// The most memory in front of it that a file is copied behind.
const RIDE_BEHIND: usize = 16 << 10;

/// What a task has ready to go.
#[derive(Debug, Default)]
pub struct Outbox {
    segments: VecDeque<Segment>,
    moved: u64,
    ledger: Option<Box<Ledger>>,
}

#[derive(Debug)]
enum Segment {
    Memory { bytes: Vec<u8>, sent: usize },
    File(Box<FileToSocket>),
}

impl Outbox {
    /// Nothing to send.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends memory.
    pub fn push_bytes(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.segments.push_back(Segment::Memory { bytes, sent: 0 });
        }
    }

    /// Appends a part of a file.
    pub fn push_file(&mut self, transfer: FileToSocket) {
        if transfer.remaining() > 0 {
            self.segments.push_back(Segment::File(Box::new(transfer)));
        }
    }

    /// Bytes that have left so far.
    #[must_use]
    pub fn moved(&self) -> u64 {
        self.moved
    }

    /// From now on a [ledger](Ledger) is kept of what is done.
    pub fn keep_ledger(&mut self) {
        self.ledger.get_or_insert_default();
    }

    /// Closes the ledger, if one was kept: what has not left yet is in it as far as it came.
    pub fn take_ledger(&mut self) -> Option<Ledger> {
        let mut ledger = *self.ledger.take()?;
        let files = self.files().filter(|file| file.has_begun()).map(|file| file.report().clone());
        ledger.reports.extend(files);
        Some(ledger)
    }

    /// Counts operations by which a model moves [portions](Self::portion), if a ledger is kept.
    pub fn count_operations(&mut self, count: u64) {
        if let Some(ledger) = &mut self.ledger {
            ledger.operations += count;
        }
    }

    /// Whether everything has left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Moves a bounded amount into `out`: one piece of memory or one share of a file.
    ///
    /// # Errors
    /// As [`FileToSocket::step`]. The outbox stands where it stood.
    pub fn step(&mut self, out: BorrowedFd<'_>) -> io::Result<Progress> {
        let progress = self.step_front(out)?;
        if matches!(progress, Progress::Moved(_)) && self.segments.is_empty() {
            return Ok(Progress::Done);
        }
        Ok(progress)
    }

    /// After [`Progress::NeedsWorker`]: what has to be read from the disk for the next step.
    #[must_use]
    pub fn cold_part(&self) -> Option<ColdPart> {
        let part = self.segments.iter().find_map(|segment| match segment {
            Segment::File(transfer) => Some(transfer.cold_part()),
            Segment::Memory { .. } => None,
        });
        match &self.ledger {
            Some(ledger) => part.map(|part| part.tell(&ledger.warmth)),
            None => part,
        }
    }

    /// From now on a step that would wait for a disk says so ([`Progress::NeedsWorker`]).
    pub fn tell_cold(&mut self) {
        self.files().for_each(FileToSocket::tell_cold);
    }

    /// The same, but only for what passes the page cache by ([`Via::Direct`]): for a model that can
    /// read that by itself, and nothing else.
    pub fn tell_direct(&mut self) {
        self.files().filter(|file| file.asked() == Via::Direct).for_each(FileToSocket::tell_cold);
    }

    /// The same, but only for files whose file system may [never answer](crate::Device::remote).
    pub fn tell_remote(&mut self) {
        self.files().filter(|file| file.is_remote()).for_each(FileToSocket::tell_cold);
    }

    /// From now on steps wait for the disk again: for a caller that may wait, or whose
    /// [warming](ColdPart::warm) is in vain.
    pub fn wait_for_disk(&mut self) {
        self.files().for_each(FileToSocket::wait_for_disk);
    }

    fn files(&mut self) -> impl Iterator<Item = &mut FileToSocket> {
        self.segments.iter_mut().filter_map(|segment| match segment {
            Segment::File(transfer) => Some(&mut **transfer),
            Segment::Memory { .. } => None,
        })
    }

    /// The next bytes, for a model that hands them to the kernel by itself. Memory is copied to
    /// the front of `buffer`, and behind it there is room for the part of a file that is to be
    /// read; at most `most` bytes in all. `via` says by which via the model grants the one that
    /// was asked for; a file that is to be spliced is a portion of its own, and has no room.
    ///
    /// `None` when all has left, by [`advance`](Self::advance).
    pub fn portion(
        &mut self,
        buffer: &mut Vec<u8>,
        most: usize,
        via: impl Fn(Via) -> Via,
    ) -> Option<Portion> {
        let (memory, segments) = self.memory_in_front(most);
        let behind = self.segments.len() > segments + 1;
        let file = match self.segments.get_mut(segments) {
            Some(Segment::File(file)) if memory < most => {
                let small = memory > 0 && file.rides_along();
                let ran = if small || !file.is_plain() { Via::Copy } else { via(file.asked()) };
                (ran != Via::Splice || memory == 0).then(|| file.part(most - memory, ran))
            }
            _ => None,
        };
        if memory == 0 && file.is_none() {
            return None;
        }
        let room = file.as_ref().filter(|file| file.via != Via::Splice).map_or(0, |it| it.length);
        buffer.resize(memory + room, 0);
        self.copy_memory(&mut buffer[..memory]);
        let more = match &file {
            Some(file) => behind || (file.length as u64) < file.remaining,
            None => self.segments.len() > segments,
        };
        Some(Portion { file, more })
    }

    /// Whether there are more than so many bytes to go.
    #[must_use]
    pub fn exceeds(&self, mut count: u64) -> bool {
        self.segments.iter().any(|segment| {
            let here = match segment {
                Segment::Memory { bytes, sent } => (bytes.len() - sent) as u64,
                Segment::File(transfer) => transfer.remaining(),
            };
            let beyond = here > count;
            count = count.saturating_sub(here);
            beyond
        })
    }

    /// Counts bytes of portions that left.
    pub fn advance(&mut self, moved: usize) {
        self.settle(Some(moved));
    }

    /// How many bytes of memory stand in front, at most `most`, and how many segments that are
    /// through with them.
    fn memory_in_front(&self, most: usize) -> (usize, usize) {
        let (mut memory, mut segments) = (0, 0);
        for segment in &self.segments {
            let Segment::Memory { bytes, sent } = segment else { break };
            memory += bytes.len() - sent;
            if memory > most {
                return (most, segments);
            }
            segments += 1;
        }
        (memory, segments)
    }

    fn copy_memory(&self, mut buffer: &mut [u8]) {
        for segment in &self.segments {
            let Segment::Memory { bytes, sent } = segment else { break };
            let count = buffer.len().min(bytes.len() - sent);
            let (here, rest) = buffer.split_at_mut(count);
            here.copy_from_slice(&bytes[*sent..*sent + count]);
            buffer = rest;
        }
    }

    fn step_front(&mut self, out: BorrowedFd<'_>) -> io::Result<Progress> {
        let more = self.segments.len() > 1;
        if self.small_file_behind_memory() {
            return self.send_together(out);
        }
        match self.segments.front_mut() {
            None => Ok(Progress::Done),
            Some(Segment::Memory { bytes, sent }) => {
                if let Some(ledger) = &mut self.ledger {
                    ledger.sends += 1;
                }
                let moved = send_some(out, &bytes[*sent..], more)?;
                Ok(self.settle(moved))
            }
            Some(Segment::File(transfer)) => {
                let before = transfer.remaining();
                let progress = transfer.step_before(out, more);
                self.moved += before - transfer.remaining();
                if transfer.is_done() {
                    self.drop_front();
                    if more && matches!(progress, Ok(Progress::Done)) {
                        return self.step_front(out);
                    }
                }
                progress
            }
        }
    }

    fn small_file_behind_memory(&self) -> bool {
        match (self.segments.front(), self.segments.get(1)) {
            (Some(Segment::Memory { bytes, .. }), Some(Segment::File(transfer))) => {
                bytes.len() <= RIDE_BEHIND && transfer.rides_along()
            }
            _ => false,
        }
    }

    /// Sends the memory in front and the small file behind it in one call.
    fn send_together(&mut self, out: BorrowedFd<'_>) -> io::Result<Progress> {
        let more = self.segments.len() > 2;
        let mut segments = self.segments.iter_mut();
        let (Some(Segment::Memory { bytes, sent }), Some(Segment::File(transfer))) =
            (segments.next(), segments.next())
        else {
            return Ok(Progress::Done);
        };
        let head = &bytes[*sent..];
        let room = head.len() + usize::try_from(transfer.remaining()).unwrap_or(0);
        let sent = scratch::with(room, |buffer| {
            buffer[..head.len()].copy_from_slice(head);
            let read = match transfer.read_behind(&mut buffer[head.len()..room]) {
                Ok(Some(read)) => read,
                Ok(None) => return Ok(None),
                // Nothing left, and the caller has a look at the signal.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    return Ok(Some(Some(0)));
                }
                Err(error) => return Err(error),
            };
            let short = (read as u64) < transfer.remaining();
            send_some(out, &buffer[..head.len() + read], more || short).map(Some)
        });
        match sent? {
            None => Ok(Progress::NeedsWorker),
            Some(moved) => Ok(self.settle(moved)),
        }
    }

    /// Counts bytes that left off the segments in front, and drops those that are through.
    fn settle(&mut self, moved: Option<usize>) -> Progress {
        let Some(moved) = moved else {
            return Progress::NeedsWritable;
        };
        let mut left = moved;
        while let Some(front) = self.segments.front_mut() {
            left -= front.advance(left);
            if !front.is_through() {
                break;
            }
            self.drop_front();
        }
        self.moved += moved as u64;
        Progress::Moved(moved as u64)
    }

    /// Drops a segment that is through; if a ledger is kept, the report of a file goes there.
    fn drop_front(&mut self) {
        let front = self.segments.pop_front();
        if let Some(ledger) = &mut self.ledger
            && let Some(Segment::File(file)) = front
        {
            ledger.reports.push(file.into_report());
        }
    }
}

impl Segment {
    /// Counts off as many of `moved` bytes as belong to this segment, and says how many.
    fn advance(&mut self, moved: usize) -> usize {
        match self {
            Self::Memory { bytes, sent } => {
                let mine = moved.min(bytes.len() - *sent);
                *sent += mine;
                mine
            }
            Self::File(transfer) => {
                let mine = transfer.remaining().min(moved as u64);
                transfer.advance(mine);
                usize::try_from(mine).unwrap_or(moved)
            }
        }
    }

    fn is_through(&self) -> bool {
        match self {
            Self::Memory { bytes, sent } => *sent == bytes.len(),
            Self::File(transfer) => transfer.remaining() == 0,
        }
    }
}

/// One `send`; `None` when the socket takes nothing now, 0 when signals interrupt it every time.
fn send_some(out: BorrowedFd<'_>, bytes: &[u8], more: bool) -> io::Result<Option<usize>> {
    let mut flags = SendFlags::NOSIGNAL;
    flags.set(SendFlags::MORE, more);
    match retry(|| send(out, bytes, flags)) {
        Ok(sent) => Ok(Some(sent)),
        Err(Errno::AGAIN) => Ok(None),
        Err(Errno::INTR) => Ok(Some(0)),
        Err(errno) => Err(errno.into()),
    }
}

impl From<Vec<u8>> for Outbox {
    fn from(bytes: Vec<u8>) -> Self {
        let mut outbox = Self::new();
        outbox.push_bytes(bytes);
        outbox
    }
}
