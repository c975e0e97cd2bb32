//! A second descriptor of a file, opened with `O_DIRECT`, and the block arithmetic for it.
//!
//! open(2), Linux 2.4.10; alignment by `STATX_DIOALIGN` (statx(2), 6.1), before that 4 KiB.

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, OFlags, StatxFlags, statx};
use rustix::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use crate::aligned::{ALIGNMENT, Aligned};
use crate::calls::Calls;
use crate::reopen::reopen;
use crate::report::Reason;

/// The largest alignment: with larger blocks too many bytes would be read in vain.
const LARGEST_ALIGNMENT: usize = 1 << 20;

/// A buffer, and the part of it that has been read and not moved on.
pub(crate) type Filled = (Aligned, Range<usize>);

/// A file that bypasses the page cache.
#[derive(Debug)]
pub(crate) struct DirectFile {
    pub(crate) file: Arc<OwnedFd>,
    /// The alignment of offsets, lengths and addresses; a power of two.
    pub(crate) alignment: usize,
}

/// The whole blocks around a range of bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocks {
    pub(crate) offset: u64,
    pub(crate) length: usize,
    /// The bytes in front of the range.
    lead: usize,
}

impl Blocks {
    /// Returns the position of the `count` wanted bytes in a buffer into which `read` bytes were read.
    pub(crate) fn wanted(self, read: usize, count: usize) -> Range<usize> {
        self.lead..read.min(self.lead + count).max(self.lead)
    }
}

impl DirectFile {
    /// Opens `file` a second time.
    ///
    /// # Errors
    /// [`Reason::NoDirectIo`], and those of [`reopen`].
    pub(crate) fn open(
        file: BorrowedFd<'_>,
        access: OFlags,
        calls: &mut Calls,
    ) -> Result<Self, Reason> {
        calls.statx += 1;
        let stat = statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN)?;
        let known = stat.stx_mask & StatxFlags::DIOALIGN.bits() != 0;
        let reported = known.then_some((stat.stx_dio_offset_align, stat.stx_dio_mem_align));
        let alignment = alignment(reported).ok_or(Reason::NoDirectIo)?;
        let file = reopen(file, access | OFlags::DIRECT, calls)?;
        Ok(Self { file: Arc::new(file), alignment })
    }

    /// Returns the blocks around `count` bytes at an offset.
    pub(crate) fn blocks(&self, at: u64, count: usize) -> Blocks {
        let before = at % self.alignment as u64;
        let lead = usize::try_from(before).unwrap_or(0); // it is less than the alignment
        let length = (lead + count).next_multiple_of(self.alignment);
        Blocks { offset: at - before, length, lead }
    }

    /// Reads the blocks around `count` bytes, and returns the position of these in the buffer.
    pub(crate) fn read(&self, at: u64, count: usize) -> io::Result<Filled> {
        let blocks = self.blocks(at, count);
        let mut buffer = Aligned::take(blocks.length, self.alignment);
        let memory = &mut buffer.bytes_mut()[..blocks.length];
        let read = io::pread(&self.file, memory, blocks.offset)?;
        Ok((buffer, blocks.wanted(read, count)))
    }

    /// Returns the part of a buffer that can be written at `at` without copying: from an aligned address
    /// to an aligned offset, in whole blocks.
    pub(crate) fn whole_blocks(
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

/// Returns an alignment that satisfies those of offsets and of addresses from statx(2), where 0 means
/// unsupported. `None` if the file has no `O_DIRECT`, or only with blocks that are too large.
fn alignment(reported: Option<(u32, u32)>) -> Option<usize> {
    let Some((offset, memory)) = reported else {
        return Some(ALIGNMENT);
    };
    let largest = usize::try_from(offset.max(memory)).ok()?;
    let usable = offset > 0 && memory > 0 && largest <= LARGEST_ALIGNMENT;
    usable.then(|| largest.next_power_of_two().max(ALIGNMENT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn the_alignment_is_that_of_the_file_system() {
        assert_eq!(alignment(None), Some(4096), "an old kernel");
        assert_eq!(alignment(Some((512, 4))), Some(4096));
        assert_eq!(alignment(Some((4096, 4096))), Some(4096));
        assert_eq!(alignment(Some((64 << 10, 512))), Some(64 << 10));
        assert_eq!(alignment(Some((0, 0))), None);
        assert_eq!(alignment(Some((2 << 20, 512))), None);
    }

    /// Returns an ordinary file with a given alignment.
    fn file_with(content: &[u8], alignment: usize) -> DirectFile {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        DirectFile { file: Arc::new(file.into()), alignment }
    }

    #[test]
    fn head_and_tail_are_read_in_whole_blocks() {
        let content: Vec<u8> = (0..200_000_u32).map(|at| at.to_le_bytes()[1]).collect();
        for alignment in [4096, 64 << 10] {
            let file = file_with(&content, alignment);
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
    fn only_whole_blocks_are_written_without_copying() {
        let sink = file_with(b"", 8192);
        assert_eq!(sink.whole_blocks(8192, 8192, &(0..20_000)), Some(0..16_384));
        assert_eq!(sink.whole_blocks(0, 8192, &(8192..20_000)), Some(8192..16_384));
        assert_eq!(sink.whole_blocks(0, 8192, &(0..8191)), None);
        assert_eq!(sink.whole_blocks(4096, 8192, &(0..20_000)), None, "the offset");
        assert_eq!(sink.whole_blocks(0, 8192, &(4096..20_000)), None, "the address");
        assert_eq!(sink.whole_blocks(0, 4096, &(0..20_000)), None, "the buffer");
    }
}
