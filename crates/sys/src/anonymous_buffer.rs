//! A buffer in a mapping of its own: mmap(2) with `MAP_ANONYMOUS` (Linux 2.4), munmap(2).
//!
//! When it is dropped its pages are free at once, whatever the allocator does: glibc keeps the freed pieces of a heap
//! as long as one behind them is in use, and maps large ones apart only until the first of them was freed.
//!
//! # Limitations
//!
//! A system call at each end, and a page fault for each page that is written: not for small buffers. The capacity
//! is fixed.

use rustix::io;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use std::ops::Deref;
use std::ptr::{NonNull, null_mut};
use std::slice;

use crate::page_size;

/// Bytes that can be appended up to a capacity. A page takes memory from its first byte on.
#[derive(Debug)]
pub struct AnonymousBuffer {
    start: NonNull<u8>,
    capacity: usize,
    length: usize,
}

// SAFETY: the mapping is memory of the process, not of a thread, and only this value has its address.
unsafe impl Send for AnonymousBuffer {}
// SAFETY: as above; all methods that take `&self` only read.
unsafe impl Sync for AnonymousBuffer {}

impl AnonymousBuffer {
    /// Maps memory for at least `capacity` bytes, rounded up to whole pages.
    ///
    /// # Errors
    /// `EINVAL` for a capacity of 0; `ENOMEM` for one that is too large, or if the process has no memory or too many
    /// mappings left.
    pub fn with_capacity(capacity: usize) -> io::Result<Self> {
        let capacity = capacity.checked_next_multiple_of(page_size()).ok_or(io::Errno::NOMEM)?;
        if isize::try_from(capacity).is_err() {
            return Err(io::Errno::NOMEM);
        }
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses the address, so no memory that is in use is replaced.
        let start = unsafe { mmap_anonymous(null_mut(), capacity, protection, MapFlags::PRIVATE)? };
        let start = NonNull::new(start.cast()).ok_or(io::Errno::NOMEM)?;
        Ok(Self { start, capacity, length: 0 })
    }

    /// Returns how many bytes it can have.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Appends bytes. Returns false, and appends none, if there is no room for all of them.
    #[must_use]
    pub fn append(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() > self.capacity - self.length {
            return false;
        }
        // SAFETY: `length` is within the mapping.
        let end = unsafe { self.start.add(self.length) };
        // SAFETY: there is room behind `end` for all bytes, by the check above. `&mut self` excludes references into the
        // mapping, so `bytes` is no part of it.
        unsafe { end.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
        self.length += bytes.len();
        true
    }
}

impl Deref for AnonymousBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the first `length` bytes of the mapping were written by `append`, and nothing else has its address; it
        // is no mapping of a file, so no one else can change it. It lives as long as `self`.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl Drop for AnonymousBuffer {
    fn drop(&mut self) {
        // SAFETY: exactly this range was mapped by `with_capacity`, and no reference into it outlives `self`.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.capacity) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_appended_up_to_the_capacity() {
        let mut buffer = AnonymousBuffer::with_capacity(1).unwrap();
        assert_eq!((buffer.len(), buffer.capacity()), (0, page_size()));
        let mut expected = Vec::new();
        for number in 0_u8.. {
            let piece = [number; 77];
            if !buffer.append(&piece) {
                break;
            }
            expected.extend(piece);
        }
        assert!(expected.len() > page_size() - 77 && buffer[..] == expected);
        let rest = vec![1; page_size() - expected.len()];
        assert!(buffer.append(&rest) && buffer.append(&[]) && !buffer.append(&[1]));
        assert_eq!(buffer.len(), page_size());
    }

    #[test]
    fn impossible_capacities_are_errors() {
        assert_eq!(AnonymousBuffer::with_capacity(0).unwrap_err(), io::Errno::INVAL);
        for capacity in [usize::MAX, usize::MAX - page_size() + 1, isize::MAX as usize] {
            assert_eq!(AnonymousBuffer::with_capacity(capacity).unwrap_err(), io::Errno::NOMEM);
        }
    }
}
