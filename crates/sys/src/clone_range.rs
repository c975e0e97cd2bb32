//! Shares extents between files: `FICLONERANGE`, ioctl_ficlonerange(2), Linux 4.5.
//!
//! # Limitations
//!
//! Only some file systems support it (btrfs, xfs with `reflink=1`, bcachefs,
//! nfs 4.2 …), both files have to be on the same one, and offsets are multiples of its block size;
//! so is the length, unless it ends where the source does.

use rustix::io;
use std::ops::Range;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use crate::last_errno;

/// Makes `to` share the bytes `range` of `from`, from `offset` on. The kernel copies a block when one of
/// the files is written to.
///
/// # Errors
/// `EOPNOTSUPP` or `ENOTTY` if the file system does not support it, `EXDEV` across file systems, `EINVAL` for
/// an offset or length that is not a multiple of the block size or lies behind the end, `ETXTBSY`
/// for swap files.
pub fn clone_range(
    from: BorrowedFd<'_>,
    range: Range<u64>,
    to: BorrowedFd<'_>,
    offset: u64,
) -> io::Result<()> {
    let request = libc::file_clone_range {
        src_fd: i64::from(from.as_raw_fd()),
        src_offset: range.start,
        src_length: range.end.saturating_sub(range.start),
        dest_offset: offset,
    };
    if request.src_length == 0 {
        return Ok(()); // which would mean the rest of the file
    }
    // SAFETY: the kernel reads the struct, which lives here and is the one of this request.
    let result = unsafe { libc::ioctl(to.as_raw_fd(), libc::FICLONERANGE, &raw const request) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

    #[test]
    fn another_file_system_is_refused() {
        let here = tempfile::tempfile().unwrap();
        let there = std::fs::File::open("/proc/self/status").unwrap();
        let refused = clone_range(there.as_fd(), 0..4096, here.as_fd(), 0).unwrap_err();
        assert_eq!(refused, io::Errno::XDEV);
        assert_eq!(clone_range(there.as_fd(), 0..0, here.as_fd(), 0), Ok(()));
    }
}
