//! Buffers with the alignment that a disk requires, pooled per thread.
//!
//! A buffer is either in the pool or belongs to the transfer whose bytes it holds. A second read of a
//! disk is too expensive, so unlike `copy` a transfer by `direct` keeps the unsent bytes.

use std::cell::RefCell;

/// The least alignment of a buffer, which satisfies most disks and file systems.
pub(crate) const ALIGNMENT: usize = 4096;

/// The most idle buffers in the pool of a thread.
const KEPT: usize = 4;

thread_local! {
    static IDLE: RefCell<Vec<Aligned>> = const { RefCell::new(Vec::new()) };
}

/// Bytes at an address that is a multiple of its alignment.
#[derive(Debug)]
pub(crate) struct Aligned {
    memory: Vec<u8>,
    start: usize,
    pub(crate) alignment: usize,
}

impl Aligned {
    /// Returns at least `size` bytes of unspecified content from the pool, or a new buffer. `alignment`
    /// is a power of two.
    pub(crate) fn take(size: usize, alignment: usize) -> Self {
        let fits = |kept: &Self| kept.bytes().len() >= size && kept.alignment >= alignment;
        let kept = IDLE.with_borrow_mut(Vec::pop).filter(fits);
        kept.unwrap_or_else(|| Self::new(size, alignment.max(ALIGNMENT)))
    }

    /// Returns the buffer to the pool.
    pub(crate) fn give_back(self) {
        IDLE.with_borrow_mut(|kept| {
            if kept.len() < KEPT {
                kept.push(self);
            }
        });
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..]
    }

    /// Returns the memory, and the position of the aligned bytes in it.
    pub(crate) fn into_parts(self) -> (Vec<u8>, usize) {
        (self.memory, self.start)
    }

    /// Restores a buffer with at least this alignment from its [parts](Self::into_parts).
    pub(crate) fn from_parts(memory: Vec<u8>, start: usize, alignment: usize) -> Self {
        Self { memory, start, alignment: alignment.max(ALIGNMENT) }
    }

    fn new(size: usize, alignment: usize) -> Self {
        let memory = vec![0; size + alignment];
        let start = memory.as_ptr().align_offset(alignment);
        Self { memory, start, alignment }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_long_enough() {
        for alignment in [512, ALIGNMENT, 64 << 10, ALIGNMENT] {
            for size in [1, ALIGNMENT, 10 * ALIGNMENT, 3] {
                let mut buffer = Aligned::take(size, alignment);
                let address = buffer.bytes().as_ptr().addr();
                assert!(address.is_multiple_of(alignment.max(ALIGNMENT)));
                assert!(buffer.bytes_mut().len() >= size);
                buffer.give_back();
            }
        }
    }
}
