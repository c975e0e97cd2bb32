//! A mapped part of a file that is not read in user space: mmap(2), and send(2) straight from it.
//!
//! The bytes of a mapped file may change at any time, and a read behind the end of a truncated file
//! raises SIGBUS. So this mapping gives no reference and no slice: it can only be passed to
//! the kernel, which returns an error (`EFAULT`) for a missing page. Linux 2.0.
//!
//! # Limitations
//!
//! Behind the end of a file the rest of its last page reads as zeros, which the
//! kernel sends without an error; the sender must check the size of the file.

use rustix::io;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};
use rustix::net::SendFlags;
use std::ffi::c_void;
use std::ops::Range;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::ptr::{NonNull, null_mut};

use crate::last_errno;

/// A part of a file, mapped shared and for reading.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<c_void>,
    length: usize,
}

// SAFETY: the mapping is memory of the process, not of a thread, and no method but `drop` changes
// anything about it.
unsafe impl Send for Mapping {}
// SAFETY: as above; all methods that take `&self` only pass addresses to the kernel.
unsafe impl Sync for Mapping {}

/// Returns the size of a page; offsets of mappings are multiples of it.
#[must_use]
pub fn page_size() -> usize {
    rustix::param::page_size()
}

impl Mapping {
    /// Maps `length` bytes of `file` from `offset`, which is a multiple of [`page_size`], and
    /// advises the kernel that they will be read sequentially.
    ///
    /// # Errors
    /// `EINVAL` for an unaligned offset or a length of 0; `ENODEV` for a file that cannot be
    /// mapped; `EACCES` if it is not open for reading; `ENOMEM`.
    pub fn of(file: BorrowedFd<'_>, offset: u64, length: usize) -> io::Result<Self> {
        Self::new(file, offset, length, ProtFlags::READ, MapFlags::SHARED)
    }

    pub(crate) fn new(
        file: BorrowedFd<'_>,
        offset: u64,
        length: usize,
        protection: ProtFlags,
        flags: MapFlags,
    ) -> io::Result<Self> {
        // SAFETY: the kernel chooses the address, so no memory that is in use is replaced.
        let start = unsafe { mmap(null_mut(), length, protection, flags, file, offset)? };
        let start = NonNull::new(start).ok_or(io::Errno::NOMEM)?;
        let mapping = Self { start, length };
        // SAFETY: the range is the one just mapped, and this advice changes no content.
        let advised = unsafe { madvise(start.as_ptr(), length, Advice::Sequential) };
        // A failure costs speed at most.
        let _ignored = advised;
        Ok(mapping)
    }

    /// Returns how many bytes are mapped.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Sends the bytes `range` of the mapping, and returns how many the socket has taken.
    ///
    /// # Errors
    /// As send(2). `EFAULT` means that the first byte does not exist (any more), or cannot be read
    /// from its disk. `EINVAL` for a range that is not within the mapping.
    pub fn send(
        &self,
        out: BorrowedFd<'_>,
        range: Range<usize>,
        flags: SendFlags,
    ) -> io::Result<usize> {
        let flags = flags.bits().cast_signed();
        let (start, length) = self.part(range)?;
        // SAFETY: the range is within the mapping, which lives as long as `self`. Only the kernel
        // reads it, so no Rust reference exists that a writer of the file could invalidate.
        counted(unsafe { libc::send(out.as_raw_fd(), start, length, flags) })
    }

    /// Writes the bytes `range` of the mapping to `file` at `offset`, and returns how many were written.
    ///
    /// # Errors
    /// As pwrite(2), and as [`send`](Self::send).
    pub fn write_at(
        &self,
        file: BorrowedFd<'_>,
        offset: u64,
        range: Range<usize>,
    ) -> io::Result<usize> {
        let offset = i64::try_from(offset).map_err(|_| io::Errno::OVERFLOW)?;
        let (start, length) = self.part(range)?;
        // SAFETY: as in `send`.
        counted(unsafe { libc::pwrite(file.as_raw_fd(), start, length, offset) })
    }

    /// Returns how many pages of the mapping are in the page cache: mincore(2), Linux 2.3.99. Reads
    /// nothing. For a file that the caller neither owns nor may write, it counts all (5.2).
    ///
    /// # Errors
    /// As mincore(2).
    pub fn resident_pages(&self) -> io::Result<usize> {
        let mut pages = vec![0_u8; self.length.div_ceil(page_size())];
        // SAFETY: the range is the mapping's, and there is a byte in `pages` for each page of it.
        let result = unsafe { libc::mincore(self.start.as_ptr(), self.length, pages.as_mut_ptr()) };
        if result != 0 {
            return Err(last_errno());
        }
        Ok(pages.iter().filter(|&page| page & 1 != 0).count())
    }

    /// Returns the address and the length of a part of the mapping.
    pub(crate) fn part(&self, range: Range<usize>) -> io::Result<(*mut c_void, usize)> {
        if range.start > range.end || range.end > self.length {
            return Err(io::Errno::INVAL);
        }
        Ok((self.start.as_ptr().wrapping_byte_add(range.start), range.len()))
    }
}

/// Returns the count of a system call, or its errno.
pub(crate) fn counted(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| last_errno())
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly this range was mapped by `of`, and no reference into it ever existed.
        let unmapped = unsafe { munmap(self.start.as_ptr(), self.length) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    #[test]
    fn parts_are_sent_without_copying_to_a_buffer() {
        let content: Vec<u8> = (0..3 * page_size()).map(|n| n.to_le_bytes()[0]).collect();
        let page = page_size();
        let mapping = Mapping::of(file(&content).as_fd(), page as u64, 2 * page).unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        let sent = mapping.send(near.as_fd(), 10..page + 10, SendFlags::empty()).unwrap();
        let mut received = vec![0; sent];
        far.read_exact(&mut received).unwrap();
        assert_eq!(received, content[page + 10..][..sent]);
    }

    #[test]
    fn a_truncated_file_is_an_error_and_not_a_signal() {
        let page = page_size();
        let file = file(&vec![1; 3 * page]);
        let mapping = Mapping::of(file.as_fd(), 0, 3 * page).unwrap();
        file.set_len(page as u64).unwrap();
        let (near, _far) = UnixStream::pair().unwrap();
        let behind = mapping.send(near.as_fd(), page..2 * page, SendFlags::empty());
        assert_eq!(behind, Err(io::Errno::FAULT));
    }

    #[test]
    fn ranges_outside_are_refused() {
        let mapping = Mapping::of(file(b"abc").as_fd(), 0, 3).unwrap();
        let (near, _far) = UnixStream::pair().unwrap();
        #[expect(clippy::reversed_empty_ranges, reason = "that is the point")]
        for range in [0..4, 4..4, 2..1, 0..usize::MAX] {
            let sent = mapping.send(near.as_fd(), range, SendFlags::empty());
            assert_eq!(sent, Err(io::Errno::INVAL));
        }
    }

    #[test]
    fn unmappable_files_are_refused() {
        assert_eq!(Mapping::of(file(b"a").as_fd(), 1, 1).unwrap_err(), io::Errno::INVAL);
        assert_eq!(Mapping::of(file(b"a").as_fd(), 0, 0).unwrap_err(), io::Errno::INVAL);
        let directory = File::open("/").unwrap();
        assert_eq!(Mapping::of(directory.as_fd(), 0, 1).unwrap_err(), io::Errno::NODEV);
    }
}
