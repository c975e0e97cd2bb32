//! A ring of buffers from which io_uring takes one when bytes have come: Linux 5.19.
//!
//! io_uring_register(2), `IORING_REGISTER_PBUF_RING`. An idle connection holds no buffer, and the
//! kernel never asks which one to fill.
//!
//! What it does badly: all buffers are equally long, so a few bytes take a whole one; and when all
//! are out, a receive ends with `ENOBUFS` and somebody has to begin it anew.

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

/// The group that the buffers of a ring are known by.
pub(crate) const GROUP: u16 = 0;

/// The memory: first the ring's entries, then the buffers.
pub(crate) struct ProvidedBuffers {
    start: NonNull<c_void>,
    length: usize,
    /// Where the buffers begin.
    buffers: usize,
    count: u16,
    size: u32,
    /// How many have been handed to the kernel so far, wrapping.
    tail: Cell<u16>,
}

/// Bytes in one of the buffers. The kernel may fill it again when this is dropped.
pub struct Lent {
    pool: Rc<ProvidedBuffers>,
    number: u16,
    length: usize,
}

impl ProvidedBuffers {
    /// Hands `count` buffers, a power of two, of `size` bytes to the ring.
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

    /// What the kernel has put into the buffer `number`: its first `length` bytes.
    pub(crate) fn lend(self: &Rc<Self>, number: u16, length: usize) -> io::Result<Lent> {
        if number >= self.count || length > self.size as usize {
            return Err(io::Errno::IO);
        }
        Ok(Lent { pool: Rc::clone(self), number, length })
    }

    /// Hands a buffer to the kernel, which has not got it.
    fn provide(&self, number: u16) {
        let tail = self.tail.get();
        let entries = self.start.as_ptr().cast::<BufRingEntry>();
        let place = entries.wrapping_add(usize::from(tail & (self.count - 1)));
        // Not a whole entry at once: the first one has the ring's tail in its last bytes.
        // SAFETY: the place is within the ring, aligned, and initialised, for the kernel zeroes
        // what is mapped; only this thread writes entries, and the kernel reads none beyond the
        // tail.
        let entry = unsafe { &mut *place };
        entry.set_addr(self.address(number) as u64);
        entry.set_len(self.size);
        entry.set_bid(number);
        let tail = tail.wrapping_add(1);
        self.tail.set(tail);
        // SAFETY: it points to the first entry of the ring, which is initialised.
        let shared = unsafe { BufRingEntry::tail(entries) };
        // SAFETY: the tail is within the ring, aligned, and nobody but this thread writes it.
        let shared = unsafe { AtomicU16::from_ptr(shared.cast_mut()) };
        // What was written above is there before the kernel sees that it is.
        shared.store(tail, Ordering::Release);
    }

    fn address(&self, number: u16) -> *mut u8 {
        let offset = self.buffers + usize::from(number) * self.size as usize;
        self.start.as_ptr().cast::<u8>().wrapping_add(offset)
    }
}

impl Deref for Lent {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the buffer is within the mapping, which lives as long as `pool`, and longer than
        // `length`. The kernel wrote it before it said so and writes it no more until it is
        // provided again, which only `drop` does.
        unsafe { slice::from_raw_parts(self.pool.address(self.number), self.length) }
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`, and no other `Lent` has the same buffer: the kernel gives each
        // number out once until it is provided again.
        unsafe { slice::from_raw_parts_mut(self.pool.address(self.number), self.length) }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.pool.provide(self.number);
    }
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes in buffer {}", self.length, self.number)
    }
}

impl Drop for ProvidedBuffers {
    fn drop(&mut self) {
        // SAFETY: exactly this range was mapped, no `Lent` is left that refers to it, and `Ring`
        // lets go of it only when no operation is left that could write to it.
        let unmapped = unsafe { munmap(self.start.as_ptr(), self.length) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}
