//! `O_DIRECT`: the disk writes into our buffer, and the page cache is left alone.
//!
//! open(2), since Linux 2.4.10; alignment by `STATX_DIOALIGN` (statx(2), 6.1), before that 4 KiB.
//! For what is read once and would only push others out of the cache. On the way to a file, the
//! blocks are written past the cache, too, where the other file system takes that.
//!
//! What it does badly: every read waits for the disk, also where the file is in the cache, so where
//! a step may not wait somebody else makes each of them. Offsets, lengths and addresses must be
//! aligned, so the head and the tail of a range are read with bytes that nobody asked for, and
//! written through the cache. It needs a descriptor of its own, opened through `/proc/self/fd`, for
//! the flag belongs to the open file that others share. Not every file system takes it; then the
//! ladder goes on. So it does for a sink that is open for appending: at an offset of its own the
//! new descriptor would overwrite.
//!
//! A peer that has closed the connection is `EPIPE` without SIGPIPE (`MSG_NOSIGNAL`).

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, OFlags, StatxFlags, statx};
use rustix::io::{self, Errno};
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use crate::aligned::{ALIGNMENT, Aligned};
use crate::ends;
use crate::errand::Errand;
use crate::reopen::{appends, reopen};
use crate::report::{Calls, Report};
use crate::step::{Piece, Stop};

/// How much is read at a time: enough for a disk to stream.
pub(crate) const CHUNK: u64 = 512 << 10;

/// Who wants blocks larger than this reads too much that nobody asked for.
const LARGEST_ALIGNMENT: usize = 1 << 20;

/// A buffer, and the part of it that has been read and not moved on.
pub(crate) type Filled = (Aligned, Range<usize>);

/// The files without their caches, and what has been read and not moved on.
#[derive(Debug, Default)]
pub(crate) struct Direct {
    from: Option<Arc<Opened>>,
    to: Sink,
    filled: Option<Filled>,
    errand: Option<Arc<Errand>>,
}

/// What is known of the file that is written to.
#[derive(Debug, Default)]
enum Sink {
    #[default]
    Unasked,
    Direct(Opened),
    /// Through its cache.
    Cached,
}

impl Direct {
    /// Moves up to a chunk, first of what is in the buffer; 0 means that the file ends there.
    pub(crate) fn step(&mut self, piece: Piece<'_>, report: &mut Report) -> Result<u64, Stop> {
        let calls = &mut report.calls;
        let (buffer, mut unsent) = match self.filled.take() {
            Some(filled) => filled,
            None => self.fill(piece, calls)?,
        };
        if unsent.is_empty() {
            buffer.give_back();
            return Ok(0);
        }
        let moved = self.empty(piece, &buffer, unsent.clone(), calls);
        unsent.start += moved.unwrap_or(0);
        if unsent.is_empty() {
            buffer.give_back();
        } else {
            self.filled = Some((buffer, unsent));
        }
        moved.map(|moved| moved as u64)
    }

    /// The read that the last step would have had to wait for.
    pub(crate) fn errand(&self) -> Option<Arc<Errand>> {
        self.errand.clone()
    }

    /// Reads from the disk, or takes what somebody else has read from it.
    fn fill(&mut self, piece: Piece<'_>, calls: &mut Calls) -> Result<Filled, Stop> {
        let at = piece.from.at.ok_or(Errno::OPNOTSUPP)?;
        let from = match &self.from {
            Some(from) => Arc::clone(from),
            None => Arc::new(
                Opened::of(piece.from.fd, OFlags::RDONLY, calls).map_err(Stop::Unavailable)?,
            ),
        };
        self.from = Some(Arc::clone(&from));
        let errand = self.errand.take().filter(|errand| errand.is_at(at));
        if let Some(brought) = errand.as_ref().and_then(|errand| errand.brought()) {
            calls.pread64 += u64::from(brought.by_call);
            return Ok(brought.outcome?);
        }
        if piece.tells {
            self.errand = errand.or_else(|| Some(Errand::new(from, at, piece.count())));
            return Err(Stop::Worker);
        }
        calls.pread64 += 1;
        Ok(from.read(at, piece.count())?)
    }

    /// Hands bytes of the buffer on.
    fn empty(
        &mut self,
        piece: Piece<'_>,
        buffer: &Aligned,
        unsent: Range<usize>,
        calls: &mut Calls,
    ) -> Result<usize, Stop> {
        let Some(at) = piece.to.at else {
            return ends::write(piece, &buffer.bytes()[unsent], calls);
        };
        let may_have_blocks = at.is_multiple_of(ALIGNMENT as u64) && unsent.len() >= ALIGNMENT;
        if matches!(self.to, Sink::Unasked) && may_have_blocks {
            self.to = match Opened::of(piece.to.fd, OFlags::WRONLY, calls) {
                Ok(opened) => Sink::Direct(opened),
                // Through the cache a write goes to the end, and all of it is `copy`'s then.
                Err(errno) if appends(piece.to.fd, calls) => return Err(Stop::Unavailable(errno)),
                Err(_) => Sink::Cached,
            };
        }
        if let Sink::Direct(to) = &self.to
            && let Some(blocks) = to.whole_blocks(at, buffer.alignment, &unsent)
        {
            calls.pwrite64 += 1;
            match io::pwrite(&to.file, &buffer.bytes()[blocks], at) {
                Err(Errno::INVAL | Errno::OPNOTSUPP) => self.to = Sink::Cached,
                written => return Ok(written?),
            }
        }
        ends::write(piece, &buffer.bytes()[unsent], calls)
    }
}

/// A file once more, for passing by its cache.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) file: Arc<OwnedFd>,
    /// Of offsets, lengths and addresses; a power of two.
    pub(crate) alignment: usize,
}

/// Whole blocks around bytes that were asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocks {
    pub(crate) offset: u64,
    pub(crate) length: usize,
    /// How many bytes lie before those.
    lead: usize,
}

impl Blocks {
    /// Where in the buffer the `count` bytes lie, of which `read` bytes were read.
    pub(crate) fn asked_for(self, read: usize, count: usize) -> Range<usize> {
        self.lead..read.min(self.lead + count).max(self.lead)
    }
}

impl Opened {
    fn of(file: BorrowedFd<'_>, access: OFlags, calls: &mut Calls) -> io::Result<Self> {
        calls.statx += 1;
        let stat = statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN)?;
        let known = stat.stx_mask & StatxFlags::DIOALIGN.bits() != 0;
        let told = known.then_some((stat.stx_dio_offset_align, stat.stx_dio_mem_align));
        let alignment = alignment(told).ok_or(Errno::OPNOTSUPP)?;
        let file = reopen(file, access | OFlags::DIRECT, calls)?;
        Ok(Self { file: Arc::new(file), alignment })
    }

    /// The blocks that have these bytes.
    pub(crate) fn blocks(&self, at: u64, count: usize) -> Blocks {
        let before = at % self.alignment as u64;
        let lead = usize::try_from(before).unwrap_or(0); // it is less than the alignment
        let length = (lead + count).next_multiple_of(self.alignment);
        Blocks { offset: at - before, length, lead }
    }

    /// Reads the blocks that have these bytes; where in the buffer they are comes with it.
    fn read(&self, at: u64, count: usize) -> io::Result<Filled> {
        let blocks = self.blocks(at, count);
        let mut buffer = Aligned::take(blocks.length, self.alignment);
        let memory = &mut buffer.bytes_mut()[..blocks.length];
        let read = io::pread(&self.file, memory, blocks.offset)?;
        Ok((buffer, blocks.asked_for(read, count)))
    }

    /// The part of a buffer that can be written at `at` as it is: from an aligned address to an
    /// aligned offset, in whole blocks.
    fn whole_blocks(
        &self,
        at: u64,
        of_buffer: usize,
        unsent: &Range<usize>,
    ) -> Option<Range<usize>> {
        let alignment = self.alignment;
        let aligned = at.is_multiple_of(alignment as u64)
            && of_buffer >= alignment
            && unsent.start.is_multiple_of(alignment);
        let length = unsent.len() / alignment * alignment;
        (aligned && length > 0).then_some(unsent.start..unsent.start + length)
    }
}

/// What satisfies the alignments that statx(2) told, of offsets and of addresses; `None` where the
/// file cannot be had like that, or only in blocks too large. 0 is how it says "not at all".
fn alignment(told: Option<(u32, u32)>) -> Option<usize> {
    let Some((offset, memory)) = told else {
        return Some(ALIGNMENT);
    };
    let largest = usize::try_from(offset.max(memory)).ok()?;
    let sane = offset > 0 && memory > 0 && largest <= LARGEST_ALIGNMENT;
    sane.then(|| largest.next_power_of_two().max(ALIGNMENT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn the_alignment_is_the_one_that_the_file_system_tells() {
        assert_eq!(alignment(None), Some(4096), "an old kernel");
        assert_eq!(alignment(Some((512, 4))), Some(4096));
        assert_eq!(alignment(Some((4096, 4096))), Some(4096));
        assert_eq!(alignment(Some((64 << 10, 512))), Some(64 << 10));
        assert_eq!(alignment(Some((0, 0))), None);
        assert_eq!(alignment(Some((2 << 20, 512))), None);
    }

    /// An ordinary file, held to any alignment.
    fn opened(content: &[u8], alignment: usize) -> Opened {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        Opened { file: Arc::new(file.into()), alignment }
    }

    #[test]
    fn head_and_tail_are_read_in_whole_blocks() {
        let content: Vec<u8> = (0..200_000_u32).map(|at| at.to_le_bytes()[1]).collect();
        for alignment in [4096, 64 << 10] {
            let file = opened(&content, alignment);
            for (at, count) in [(0, 1), (1, 4096), (65_535, 2), (131_072, 65_536), (199_999, 9)] {
                let (buffer, part) = file.read(at as u64, count).unwrap();
                let expected = &content[at..(at + count).min(content.len())];
                assert_eq!(&buffer.bytes()[part], expected, "{count} from {at} by {alignment}");
            }
            let (_, behind) = file.read(300_000, 10).unwrap();
            assert!(behind.is_empty());
        }
    }

    #[test]
    fn only_whole_blocks_are_written_as_they_are() {
        let sink = opened(b"", 8192);
        assert_eq!(sink.whole_blocks(8192, 8192, &(0..20_000)), Some(0..16_384));
        assert_eq!(sink.whole_blocks(0, 8192, &(8192..20_000)), Some(8192..16_384));
        assert_eq!(sink.whole_blocks(0, 8192, &(0..8191)), None);
        assert_eq!(sink.whole_blocks(4096, 8192, &(0..20_000)), None, "the offset");
        assert_eq!(sink.whole_blocks(0, 8192, &(4096..20_000)), None, "the address");
        assert_eq!(sink.whole_blocks(0, 4096, &(0..20_000)), None, "the buffer");
    }
}
