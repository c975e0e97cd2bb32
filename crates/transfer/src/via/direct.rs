//! `O_DIRECT`: the disk writes into our buffer, and the page cache is left alone.
//!
//! open(2), since Linux 2.4.10; alignment by `STATX_DIOALIGN` (statx(2), 6.1), before that 4 KiB.
//! For what is read once and would only push others out of the cache. On the way to a file, the
//! blocks are written past the cache, too, where the other file system takes that.
//!
//! What it does badly: every read waits for the disk, also where the file is in the cache, so it
//! blocks the caller, or who else reads [for it](crate::ColdPart::warm). Offsets, lengths and addresses must be aligned, so the head and
//! the tail of a range are read with bytes that nobody asked for, and written through the cache.
//! It needs a descriptor of its own, opened through `/proc/self/fd`, for the flag belongs to the
//! open file that others share. Not every file system takes it; then the ladder goes on.

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, statx};
use rustix::io::{self, Errno};
use std::ops::Range;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::sync::Arc;

use crate::aligned::{ALIGNMENT, Aligned};
use crate::block::Block;
use crate::ends;
use crate::report::{Calls, Report};
use crate::step::{Piece, Stop};

/// How much is read at a time: enough for a disk to stream.
pub(crate) const CHUNK: u64 = 512 << 10;

/// The files without their caches, and what has been read and not moved on.
#[derive(Debug, Default)]
pub(crate) struct Direct {
    from: Option<Arc<OwnedFd>>,
    to: Sink,
    filled: Option<(Aligned, Range<usize>)>,
    /// What somebody else reads.
    block: Option<Arc<Block>>,
}

/// What is known of the file that is written to.
#[derive(Debug, Default)]
enum Sink {
    #[default]
    Unasked,
    Direct(OwnedFd),
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

    /// Reads from the disk; which part of the buffer was asked for comes with it.
    fn fill(
        &mut self,
        piece: Piece<'_>,
        calls: &mut Calls,
    ) -> Result<(Aligned, Range<usize>), Stop> {
        let offset = piece.from.at.ok_or(Errno::OPNOTSUPP)?;
        let from = match self.from.take() {
            Some(from) => from,
            None => Arc::new(open(piece.from.fd, OFlags::RDONLY, calls)?),
        };
        let from = self.from.insert(from);
        let lead = usize::try_from(offset % ALIGNMENT as u64).map_err(|_| Errno::OVERFLOW)?;
        let wanted = piece.count();
        let aligned = (lead + wanted).next_multiple_of(ALIGNMENT);
        let at = offset - lead as u64;
        if piece.tells {
            let (buffer, end) = Self::read_by_others(&mut self.block, from, at, aligned, calls)?;
            let end = end.min(lead + wanted);
            return Ok((buffer, lead..end.max(lead)));
        }
        let mut buffer = Aligned::take(aligned);
        calls.pread64 += 1;
        let end = io::pread(from, &mut buffer.bytes_mut()[..aligned], at)?.min(lead + wanted);
        Ok((buffer, lead..end.max(lead)))
    }

    /// What somebody else has read; if nobody has, it is asked for.
    fn read_by_others(
        block: &mut Option<Arc<Block>>,
        from: &Arc<OwnedFd>,
        at: u64,
        length: usize,
        calls: &mut Calls,
    ) -> Result<(Aligned, usize), Stop> {
        let asked = block.take().filter(|block| block.is_at(at, length));
        match asked.as_ref().and_then(|block| block.take()) {
            Some((buffer, outcome)) => {
                calls.pread64 += 1;
                Ok((buffer, outcome?))
            }
            None => {
                *block = asked.or_else(|| Some(Block::new(Arc::clone(from), at, length)));
                Err(Stop::Worker)
            }
        }
    }

    /// What is asked for of somebody else.
    pub(crate) fn block(&self) -> Option<Arc<Block>> {
        self.block.clone()
    }

    /// Hands bytes of the buffer on.
    fn empty(
        &mut self,
        piece: Piece<'_>,
        buffer: &Aligned,
        unsent: Range<usize>,
        calls: &mut Calls,
    ) -> Result<usize, Stop> {
        let (Some(at), blocks) = (piece.to.at, whole_blocks(piece.to.at, &unsent)) else {
            return ends::write(piece, &buffer.bytes()[unsent], calls);
        };
        if blocks.is_empty() {
            return ends::write(piece, &buffer.bytes()[unsent], calls);
        }
        if matches!(self.to, Sink::Unasked) {
            let opened = open(piece.to.fd, OFlags::WRONLY, calls);
            self.to = opened.map_or(Sink::Cached, Sink::Direct);
        }
        if let Sink::Direct(to) = &self.to {
            calls.pwrite64 += 1;
            match io::pwrite(to, &buffer.bytes()[blocks], at) {
                Err(Errno::INVAL | Errno::OPNOTSUPP) => self.to = Sink::Cached,
                written => return Ok(written?),
            }
        }
        ends::write(piece, &buffer.bytes()[unsent], calls)
    }
}

/// The part of the buffer that can be written as it is: from an aligned address to an aligned
/// offset, in whole blocks.
fn whole_blocks(at: Option<u64>, unsent: &Range<usize>) -> Range<usize> {
    let aligned = |at: u64| at.is_multiple_of(ALIGNMENT as u64);
    if !at.is_some_and(aligned) || !unsent.start.is_multiple_of(ALIGNMENT) {
        return unsent.start..unsent.start;
    }
    unsent.start..unsent.start + unsent.len() / ALIGNMENT * ALIGNMENT
}

/// The same file once more, for passing by its cache.
fn open(file: BorrowedFd<'_>, access: OFlags, calls: &mut Calls) -> io::Result<OwnedFd> {
    calls.statx += 1;
    let stat = statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN)?;
    let known = stat.stx_mask & StatxFlags::DIOALIGN.bits() != 0;
    let largest = stat.stx_dio_offset_align.max(stat.stx_dio_mem_align);
    if known && (largest == 0 || largest as usize > ALIGNMENT) {
        return Err(Errno::OPNOTSUPP);
    }
    calls.open += 1;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let opened = rustix::fs::open(path, access | OFlags::DIRECT | OFlags::CLOEXEC, Mode::empty());
    // No /proc, or a sandbox without it: not this way.
    opened.map_err(|errno| match errno {
        Errno::NOENT | Errno::ACCESS => Errno::OPNOTSUPP,
        errno => errno,
    })
}
