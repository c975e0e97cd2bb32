//! Queries of the page cache: which pages of a file are in memory and read in.
//!
//! cachestat(2) (Linux 6.5) is the cheapest query, but it also counts pages that are being read from the
//! disk, for which sendfile(2) would wait. So it only rejects: a range that it counts completely is
//! verified by reads of single bytes with `RWF_NOWAIT`, which fail on such a page. Where the flag is
//! refused, mincore(2) counts only pages that are read in; it is reliable for the owner of the file and
//! for root. Where neither is possible, no page counts as resident.
//!
//! # Limitations
//!
//! Pages may be evicted between the query and the read, so a step that must not block still may, rarely.
//! One page of [`STRIDE`] is verified; the pages between two of them are assumed to be the same, because
//! the kernel reads them by one request. A read with `RWF_NOWAIT` of a page that has just been evicted
//! starts read-ahead.

#[cfg(feature = "simulation")]
use karez_sys::simulation;
use karez_sys::{Mapping, cached_pages, page_size};
use rustix::fs::{fstat, fstatfs};
use rustix::io::{self, Errno, IoSliceMut, ReadWriteFlags, preadv2};
use rustix::process::geteuid;
use std::ops::Range;
use std::os::fd::BorrowedFd;

use crate::calls::Calls;
use crate::device::Device;
use crate::nowait;
use crate::window::bytes_behind;

/// `OVERLAYFS_SUPER_MAGIC` of linux/magic.h.
const OVERLAY: rustix::fs::FsWord = 0x794c_7630;

/// The pages of which one is verified: the default read-ahead of Linux is 128 KiB.
const STRIDE: usize = 32;

/// Returns how many bytes of `range` are in the page cache, in whole pages, including pages that are being
/// read from the disk. Reads nothing, and returns an error rather than an estimate.
///
/// # Errors
/// As cachestat(2); before Linux 6.5, and for an overlay, whose files have no pages, as mincore(2).
/// `EPERM` for a file of another user, for which these calls return no or wrong counts.
pub fn cached_bytes(file: BorrowedFd<'_>, range: Range<u64>) -> std::io::Result<u64> {
    if range.is_empty() {
        return Ok(0);
    }
    let page = page_size() as u64;
    let pages = range.start / page * page..range.end;
    let cached = match cached_pages(file, pages.clone()) {
        Ok(0) if is_on_overlay(file, &mut Calls::default()) => {
            mapped(file, pages, &mut Calls::default())?
        }
        Err(Errno::NOSYS | Errno::OPNOTSUPP) => mapped(file, pages, &mut Calls::default())?,
        counted => counted?,
    };
    Ok((cached * page).min(range.end - range.start))
}

/// Returns how many pages are in memory and read in, by mincore(2), if its answer is reliable for this
/// file.
fn mapped(file: BorrowedFd<'_>, range: Range<u64>, calls: &mut Calls) -> io::Result<u64> {
    let me = geteuid();
    if !me.is_root() {
        calls.fstat += 1;
        if fstat(file)?.st_uid != me.as_raw() {
            return Err(Errno::PERM);
        }
    }
    let length = usize::try_from(range.end - range.start).map_err(|_| Errno::OVERFLOW)?;
    calls.mmap += 1;
    calls.madvise += 1;
    let mapping = Mapping::of(file, range.start, length)?;
    calls.mincore += 1;
    Ok(mapping.resident_pages()? as u64)
}

/// The pages of a range that are in memory and read in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resident {
    /// The pages at the front of the range; those behind them are unknown.
    Front(u64),
    /// So many pages, at unknown places.
    Anywhere(u64),
}

/// Returns how many of the `len` bytes from `offset` can be moved without blocking: the whole if it is in
/// memory, or a part at the front, in whole pages; 0 if the first page is missing. A range behind the end
/// of the file never blocks.
pub(crate) fn resident(
    file: BorrowedFd<'_>,
    (offset, len): (u64, u64),
    device: Device,
    calls: &mut Calls,
) -> io::Result<u64> {
    let page = page_size() as u64;
    let first = offset / page * page;
    #[cfg(feature = "simulation")]
    if simulation::happens(simulation::Point::PageCacheMiss) {
        let pages = simulation::below(2) as u64;
        return Ok((first + pages * page).saturating_sub(offset).min(len));
    }
    let needed = |len: u64| (offset + len - first).div_ceil(page);
    let front = |pages: u64| (first + pages * page).saturating_sub(offset);
    // Most ranges are in memory, so the whole is tried first.
    match query(file, first..offset + len, device, calls) {
        Resident::Front(pages) | Resident::Anywhere(pages) if pages >= needed(len) => {
            return Ok(len);
        }
        Resident::Front(pages) if pages > 0 => return Ok(front(pages).min(len)),
        _ => {}
    }
    let there = bytes_behind(file, offset, calls)?.min(len);
    if there == 0 {
        return Ok(len);
    }
    let mut asked = there;
    loop {
        match query(file, first..offset + asked, device, calls) {
            Resident::Front(pages) | Resident::Anywhere(pages) if pages >= needed(asked) => {
                return Ok(if asked == there { len } else { asked });
            }
            Resident::Front(pages) => return Ok(front(pages).min(asked)),
            Resident::Anywhere(0) => return Ok(0),
            Resident::Anywhere(_) if asked <= page => return Ok(0),
            Resident::Anywhere(_) => asked = (asked / 2).max(page),
        }
    }
}

/// Returns which pages of `range`, which begins at a page, are in memory and read in; none if that is
/// unknown. A query that fails is not an error of the transfer.
fn query(file: BorrowedFd<'_>, range: Range<u64>, device: Device, calls: &mut Calls) -> Resident {
    let needed = (range.end - range.start).div_ceil(page_size() as u64);
    calls.cachestat += 1;
    match cached_pages(file, range.clone()) {
        Ok(0) if !is_on_overlay(file, calls) => return Resident::Anywhere(0),
        // Of an overlay, whose files have no pages, or before Linux 6.5.
        Ok(0) | Err(Errno::NOSYS | Errno::OPNOTSUPP) => {}
        Ok(pages) if pages < needed => return Resident::Anywhere(pages),
        // The call fails for a file of another user.
        Ok(_) | Err(_) => {
            if let Some(pages) = sampled(file, range.clone(), device, calls) {
                return Resident::Front(pages);
            }
        }
    }
    Resident::Anywhere(mapped(file, range, calls).unwrap_or(0))
}

/// Returns how many pages at the front of the range are read in: reads a byte of the first page, the last,
/// and one of each [`STRIDE`]. `None` if the file system does not support `RWF_NOWAIT`.
fn sampled(
    file: BorrowedFd<'_>,
    range: Range<u64>,
    device: Device,
    calls: &mut Calls,
) -> Option<u64> {
    if nowait::is_refused(device) {
        return None;
    }
    let page = page_size() as u64;
    let mut read_in = 0;
    for at in range.clone().step_by(STRIDE * page_size()).chain([range.end - 1]) {
        calls.preadv2 += 1;
        let mut byte = [0];
        let buffers = &mut [IoSliceMut::new(&mut byte)];
        match preadv2(file, buffers, at, ReadWriteFlags::NOWAIT) {
            Ok(_) => read_in = (at - range.start) / page + 1,
            // A signal interrupted it: the page counts as missing.
            Err(Errno::AGAIN | Errno::INTR) => return Some(read_in),
            Err(errno) => {
                nowait::remember(device, errno);
                return None;
            }
        }
    }
    Some(read_in)
}

/// Returns whether a file lies on an overlay, as in containers. It has no pages of its own: reads and
/// mappings use those of the file below it.
fn is_on_overlay(file: BorrowedFd<'_>, calls: &mut Calls) -> bool {
    calls.fstatfs += 1;
    fstatfs(file).is_ok_and(|system| system.f_type == OVERLAY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Advice, fadvise, fdatasync};
    use std::io::Write as _;
    use std::num::NonZeroU64;
    use std::os::fd::AsFd as _;

    #[test]
    fn resident_pages_are_counted() {
        // Not a temporary directory: that may be tmpfs, which has no disk to read from.
        // The test itself lies in the target directory, which may be read-only.
        let test = std::env::current_exe().unwrap();
        let beside = tempfile::tempfile_in(test.parent().unwrap());
        let mut file = beside.or_else(|_| tempfile::tempfile_in("/var/tmp")).unwrap();
        let page = page_size() as u64;
        file.write_all(&vec![1; 64 * page_size()]).unwrap();
        fdatasync(&file).unwrap();
        let resident = |offset, len| {
            let device = Device::default();
            super::resident(file.as_fd(), (offset, len), device, &mut Calls::default()).unwrap()
        };
        assert_eq!(resident(0, 64 * page), 64 * page);
        assert_eq!(resident(3, 100 * page), 100 * page, "behind the end nothing blocks");
        // Evicts all pages, because those of a folio are evicted together; then reads half of them.
        fadvise(&file, 0, NonZeroU64::new(64 * page), Advice::DontNeed).unwrap();
        fadvise(&file, 0, None, Advice::Random).unwrap();
        rustix::io::pread(&file, &mut vec![0; 32 * page_size()], 0).unwrap();
        assert_eq!(resident(0, 64 * page), 32 * page);
        assert_eq!(resident(40 * page, 10 * page), 0);
        let cached = |range| cached_bytes(file.as_fd(), range).unwrap();
        assert_eq!(cached(0..64 * page), 32 * page);
        assert_eq!(cached(100..page + 100), page);
        assert_eq!((cached(40 * page..50 * page), cached(5..5)), (0, 0));
        assert_eq!(mapped(file.as_fd(), 0..64 * page, &mut Calls::default()).unwrap(), 32);
        let sampled =
            |range| sampled(file.as_fd(), range, Device::default(), &mut Calls::default());
        assert!(sampled(0..32 * page).is_none_or(|pages| pages == 32));
        assert!(sampled(0..64 * page).is_none_or(|pages| pages < 33));
    }
}
