//! The page cache behind a transfer: advice before it, and pages let go when they have been moved.
//!
//! posix_fadvise(2); sync_file_range(2) for dirty pages, which would otherwise stay.
//!
//! What it does badly: a page that a socket still refers to is not let go, so that of a file on its
//! way to a slow reader the last megabytes stay.

use karez_sys::{page_size, write_out};
use rustix::fs::{Advice, fadvise};
use rustix::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::BorrowedFd;

use crate::ladder::refuses_via;
use crate::report::Calls;
use crate::step::End;

/// Pages are let go in pieces of this size.
const PIECE: u64 = 4 << 20;

/// Tells the kernel that `len` bytes will be read in order.
pub(crate) fn will_be_read_in_order(from: End<'_>, len: u64, calls: &mut Calls) {
    if let Some(at) = from.at {
        calls.fadvise64 += 1;
        // Advice that is not taken costs speed at most.
        let _refused = fadvise(from.fd, at, NonZeroU64::new(len), Advice::Sequential);
    }
}

/// How far the pages behind a transfer have been let go.
#[derive(Debug, Default)]
pub(crate) struct Behind {
    read: Option<u64>,
    /// What is on its way to the disk.
    written: Option<Range<u64>>,
}

impl Behind {
    /// Lets go of what lies a piece or more behind, or, at the `end`, of everything.
    /// `from` and `to` stand where the transfer stands, which began `moved` bytes before.
    pub(crate) fn let_go(
        &mut self,
        from: End<'_>,
        to: End<'_>,
        moved: u64,
        end: bool,
        calls: &mut Calls,
    ) -> io::Result<()> {
        if let Some(at) = from.at {
            let done = self.read.get_or_insert(at - moved);
            if at - *done >= PIECE || end {
                // Once more what was in flight the last time.
                let again = done.saturating_sub(PIECE).max(at - moved);
                drop_pages(from.fd, again..at, calls);
                *done = at;
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

/// Starts writing a part of a file to its disk. Where that is refused the pages stay, and only an
/// error of the disk is one.
fn write_dirty(file: BorrowedFd<'_>, range: Range<u64>, wait: bool) -> io::Result<()> {
    match write_out(file, range, wait) {
        Err(errno) if refuses_via(errno) => Ok(()),
        written => written,
    }
}

fn drop_pages(file: BorrowedFd<'_>, range: Range<u64>, calls: &mut Calls) {
    // A page that is only in part within is kept; the one at the start is that of the last time.
    let start = range.start - range.start % page_size() as u64;
    // A length of 0 would mean the rest of the file.
    if let (false, Some(length)) = (range.is_empty(), NonZeroU64::new(range.end - start)) {
        calls.fadvise64 += 1;
        // Advice that is not taken costs memory that others may still reclaim.
        let _refused = fadvise(file, start, Some(length), Advice::DontNeed);
    }
}
