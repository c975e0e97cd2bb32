//! Provided buffers: a ring of buffers from which io_uring takes one when bytes arrive. Linux 5.19.
//!
//! io_uring_register(2), `IORING_REGISTER_PBUF_RING`. An idle connection holds no buffer.
//!
//! # Limitations
//!
//! All buffers have the same length, so a few bytes occupy a whole one. When none is left, a
//! receive ends with `ENOBUFS` and must be restarted.

use io_uring::types::BufRingEntry;
use io_uring::{IoUring, Submitter};
use rustix::io;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use std::cell::Cell;
use std::ffi::c_void;
use std::fmt;
use std::mem::size_of;
use std::ops::{Deref, DerefMut};
use std::ptr::{NonNull, null_mut};
use std::rc::Rc;
use std::slice;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::page_size;

/// The buffer group of a ring.
pub(crate) const GROUP: u16 = 0;

/// The memory: first the ring's entries, then the buffers.
pub(crate) struct ProvidedBuffers {
    start: NonNull<c_void>,
    length: usize,
    /// The offset of the buffers.
    buffers: usize,
    count: u16,
    size: u32,
    /// The number of buffers provided to the kernel so far, wrapping.
    tail: Cell<u16>,
}

/// Bytes in one of the buffers. The kernel may fill it again after this is dropped.
pub struct ProvidedBuffer {
    pool: Rc<ProvidedBuffers>,
    number: u16,
    length: usize,
}

impl ProvidedBuffers {
    /// Provides `count` buffers, a power of two, of `size` bytes to the ring.
    pub(crate) fn register(ring: &IoUring, count: u16, size: u32) -> io::Result<Rc<Self>> {
        let buffers =
            (usize::from(count) * size_of::<BufRingEntry>()).next_multiple_of(page_size());
        let length = buffers + usize::from(count) * size as usize;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses the address, so no memory that is in use is replaced.
        let start = unsafe { mmap_anonymous(null_mut(), length, access, MapFlags::PRIVATE)? };
        let start = NonNull::new(start).ok_or(io::Errno::NOMEM)?;
        let pool = Rc::new(Self { start, length, buffers, count, size, tail: Cell::new(0) });
        pool.enrol(&ring.submitter())?;
        for number in 0..count {
            pool.provide(number);
        }
        Ok(pool)
    }

    fn enrol(&self, submitter: &Submitter<'_>) -> io::Result<()> {
        let address = self.start.as_ptr() as u64;
        // SAFETY: there is room for `count` entries at the page-aligned address, and it stays
        // mapped as long as the ring has operations that could take a buffer: `Ring` keeps this.
        let registered =
            unsafe { submitter.register_buf_ring_with_flags(address, self.count, GROUP, 0) };
        registered.map_err(|error| io::Errno::from_io_error(&error).unwrap_or(io::Errno::IO))
    }

    /// Returns the first `length` bytes of the buffer `number`, which the kernel has filled.
    pub(crate) fn buffer(
        self: &Rc<Self>,
        number: u16,
        length: usize,
    ) -> io::Result<ProvidedBuffer> {
        if number >= self.count || length > self.size as usize {
            return Err(io::Errno::IO);
        }
        Ok(ProvidedBuffer { pool: Rc::clone(self), number, length })
    }

    /// Provides a buffer that the kernel does not have.
    fn provide(&self, number: u16) {
        let tail = self.tail.get();
        let entries = self.start.as_ptr().cast::<BufRingEntry>();
        let place = entries.wrapping_add(usize::from(tail & (self.count - 1)));
        // Field by field: the last bytes of the first entry are the ring's tail.
        // SAFETY: the place is within the ring, aligned, and initialised, because the kernel zeroes
        // mapped memory; only this thread writes entries, and the kernel reads none beyond the
        // tail.
        let entry = unsafe { &mut *place };
        entry.set_addr(self.address(number) as u64);
        entry.set_len(self.size);
        entry.set_bid(number);
        let tail = tail.wrapping_add(1);
        self.tail.set(tail);
        // SAFETY: it points to the first entry of the ring, which is initialised.
        let shared = unsafe { BufRingEntry::tail(entries) };
        // SAFETY: the tail is within the ring, aligned, and only this thread writes it.
        let shared = unsafe { AtomicU16::from_ptr(shared.cast_mut()) };
        // The entry is written before the kernel sees the new tail.
        shared.store(tail, Ordering::Release);
    }

    fn address(&self, number: u16) -> *mut u8 {
        let offset = self.buffers + usize::from(number) * self.size as usize;
        self.start.as_ptr().cast::<u8>().wrapping_add(offset)
    }
}

impl Deref for ProvidedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the buffer is within the mapping, which lives as long as `pool`, and longer than
        // `length`. The kernel wrote it before the completion and does not write it again until it is
        // provided again, which only `drop` does.
        unsafe { slice::from_raw_parts(self.pool.address(self.number), self.length) }
    }
}

impl DerefMut for ProvidedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`, and no other `Lent` has the same buffer: the kernel uses each
        // number once until it is provided again.
        unsafe { slice::from_raw_parts_mut(self.pool.address(self.number), self.length) }
    }
}

impl Drop for ProvidedBuffer {
    fn drop(&mut self) {
        self.pool.provide(self.number);
    }
}

impl fmt::Debug for ProvidedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes in buffer {}", self.length, self.number)
    }
}

impl Drop for ProvidedBuffers {
    fn drop(&mut self) {
        // SAFETY: exactly this range was mapped, no `Lent` is left that refers to it, and `Ring`
        // drops it only when no operation is left that could write to it.
        let unmapped = unsafe { munmap(self.start.as_ptr(), self.length) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}
