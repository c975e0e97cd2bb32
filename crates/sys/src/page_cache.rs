//! Counts the pages of a file in the page cache: cachestat(2), Linux 6.5; and writes dirty pages to disk:
//! sync_file_range(2), Linux 2.6.17.
//!
//! # Limitations
//!
//! `cachestat` counts pages without identifying them, and its result may be outdated at once.
//! `sync_file_range` writes data and no metadata, so it does not replace `fdatasync`.

use rustix::io;
use std::ops::Range;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use crate::last_errno;

/// `cachestat` has this number on every architecture but alpha.
const SYS_CACHESTAT: libc::c_long = 451;

/// `struct cachestat_range` of linux/mman.h.
#[repr(C)]
struct CachestatRange {
    offset: u64,
    length: u64,
}

/// `struct cachestat` of linux/mman.h, in pages.
#[repr(C)]
#[derive(Default)]
struct Cachestat {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// Returns how many pages of the bytes `range` of `file` are in the page cache. Reads nothing.
///
/// # Errors
/// `ENOSYS` before Linux 6.5; `EOPNOTSUPP` for hugetlbfs; `EPERM` for a file that the caller
/// neither owns nor may write (6.11), and in some sandboxes.
pub fn cached_pages(file: BorrowedFd<'_>, range: Range<u64>) -> io::Result<u64> {
    // A length of 0 would mean the rest of the file.
    if range.end <= range.start {
        return Ok(0);
    }
    let queried = CachestatRange { offset: range.start, length: range.end - range.start };
    let mut answer = Cachestat::default();
    let (fd, queried, result) = (file.as_raw_fd(), &raw const queried, &raw mut answer);
    // SAFETY: the kernel reads the range and writes the answer, both of which live here and have
    // the layout of linux/mman.h.
    let result = unsafe { libc::syscall(SYS_CACHESTAT, fd, queried, result, 0) };
    if result == 0 { Ok(answer.cached) } else { Err(last_errno()) }
}

/// Starts to write the dirty pages of `range` to the disk, and if `wait`, waits for all of them and for
/// writes that were in progress.
///
/// # Errors
/// As sync_file_range(2); `ESPIPE` for a descriptor that is not a file, `EIO`, `ENOSPC`.
pub fn write_out(file: BorrowedFd<'_>, range: Range<u64>, wait: bool) -> io::Result<()> {
    let overflow = |_| io::Errno::OVERFLOW;
    let start = i64::try_from(range.start).map_err(overflow)?;
    let length = i64::try_from(range.end.saturating_sub(range.start)).map_err(overflow)?;
    if length == 0 {
        return Ok(()); // which would mean the rest of the file
    }
    let mut flags = libc::SYNC_FILE_RANGE_WRITE;
    if wait {
        flags |= libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    }
    // SAFETY: no memory is passed.
    let result = unsafe { libc::sync_file_range(file.as_raw_fd(), start, length, flags) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Advice, fadvise};
    use std::io::Write as _;
    use std::num::NonZeroU64;
    use std::os::fd::AsFd as _;

    #[test]
    fn pages_are_counted_and_evicted_after_a_write() {
        // Not a temporary directory: that may be tmpfs, whose pages cannot be evicted.
        // The test itself lies in the target directory; that of the source may be read-only.
        let test = std::env::current_exe().unwrap();
        let mut file = tempfile::tempfile_in(test.parent().unwrap()).unwrap();
        let page = crate::page_size() as u64;
        file.write_all(&vec![1; 8 * crate::page_size()]).unwrap();
        match cached_pages(file.as_fd(), 0..8 * page) {
            Err(io::Errno::NOSYS) => return,
            counted => assert_eq!(counted, Ok(8)),
        }
        assert_eq!(cached_pages(file.as_fd(), page..3 * page), Ok(2));
        assert_eq!(cached_pages(file.as_fd(), 5..5), Ok(0));
        write_out(file.as_fd(), 0..8 * page, true).unwrap();
        fadvise(&file, 0, NonZeroU64::new(8 * page), Advice::DontNeed).unwrap();
        assert_eq!(cached_pages(file.as_fd(), 0..8 * page), Ok(0));
    }
}
