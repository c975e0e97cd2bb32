//! Drop-behind: removes pages from the page cache after a transfer has moved them; and the advice before
//! a sequential read.
//!
//! posix_fadvise(2); sync_file_range(2) for dirty pages, which would otherwise stay.
//!
//! # Limitations
//!
//! A page to which a socket still refers is not dropped, so the last megabytes of a file on its way to a
//! slow reader stay.

use karez_sys::{page_size, write_out};
use rustix::fs::{Advice, fadvise};
use rustix::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::BorrowedFd;

use crate::calls::Calls;
use crate::fallback::is_unsupported;
use crate::step::Endpoint;

/// Pages are dropped in pieces of this size.
const PIECE: u64 = 4 << 20;

/// Advises the kernel that `len` bytes will be read sequentially.
pub(crate) fn advise_sequential(file: BorrowedFd<'_>, at: u64, len: u64, calls: &mut Calls) {
    calls.fadvise64 += 1;
    // A failure costs speed at most.
    let _ignored = fadvise(file, at, NonZeroU64::new(len), Advice::Sequential);
}

/// The progress of drop-behind.
#[derive(Debug, Default)]
pub(crate) struct DropBehind {
    /// The end of the dropped part of the source.
    read: Option<u64>,
    /// The part of the sink that is being written to its disk.
    written: Option<Range<u64>>,
}

impl DropBehind {
    /// Drops the pages that lie a piece or more behind the cursor, or, at the `end`, all of them.
    /// `from` and `to` are at the cursor of a transfer that has moved `moved` bytes.
    pub(crate) fn advance(
        &mut self,
        from: Endpoint<'_>,
        to: Endpoint<'_>,
        moved: u64,
        end: bool,
        calls: &mut Calls,
    ) -> io::Result<()> {
        if let Some(at) = from.at {
            let dropped = self.read.get_or_insert(at - moved);
            if at - *dropped >= PIECE || end {
                // The previous piece again, because a part of it may have been in flight.
                let again = dropped.saturating_sub(PIECE).max(at - moved);
                drop_pages(from.fd, again..at, calls);
                *dropped = at;
            }
        }
        if let Some(at) = to.at {
            let last = self.written.get_or_insert(at - moved..at - moved);
            if at - last.end >= PIECE || end {
                let new = last.end..at;
                calls.sync_file_range += u64::from(!new.is_empty()) + u64::from(!last.is_empty());
                write_dirty(to.fd, new.clone(), end)?;
                write_dirty(to.fd, last.clone(), true)?;
                drop_pages(to.fd, last.start..if end { at } else { last.end }, calls);
                *last = new;
            }
        }
        Ok(())
    }
}

/// Starts to write a part of a file to its disk. If that is unsupported, the pages stay; an error of the
/// disk is returned.
fn write_dirty(file: BorrowedFd<'_>, range: Range<u64>, wait: bool) -> io::Result<()> {
    match write_out(file, range, wait) {
        Err(errno) if is_unsupported(errno) => Ok(()),
        written => written,
    }
}

fn drop_pages(file: BorrowedFd<'_>, range: Range<u64>, calls: &mut Calls) {
    // The kernel keeps a page of which the range has only a part; the first page is the last one of the
    // previous piece.
    let start = range.start - range.start % page_size() as u64;
    // A length of 0 would mean the rest of the file.
    if let (false, Some(length)) = (range.is_empty(), NonZeroU64::new(range.end - start)) {
        calls.fadvise64 += 1;
        // A failure costs memory that the kernel may still reclaim.
        let _ignored = fadvise(file, start, Some(length), Advice::DontNeed);
    }
}
