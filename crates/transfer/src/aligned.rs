//! Buffers that begin where a disk wants them to, kept by the thread.
//!
//! A buffer is in one of two places, like a pipe: with the thread, or with the transfer whose
//! bytes are in it. Reading a disk is too dear to do twice, so unlike `copy` a transfer by
//! `direct` keeps what the socket did not take.

use std::cell::RefCell;

/// The least alignment of a buffer: what satisfies most disks and file systems.
pub(crate) const ALIGNMENT: usize = 4096;

/// Idle buffers that a thread keeps.
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
    /// At least `size` bytes: a buffer of the thread's, or a new one. What is in it is anybody's
    /// guess. `alignment` is a power of two.
    pub(crate) fn take(size: usize, alignment: usize) -> Self {
        let fits = |kept: &Self| kept.bytes().len() >= size && kept.alignment >= alignment;
        let kept = IDLE.with_borrow_mut(Vec::pop).filter(fits);
        kept.unwrap_or_else(|| Self::new(size, alignment.max(ALIGNMENT)))
    }

    /// Gives it to the thread.
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

    /// The memory, and where in it the bytes begin.
    pub(crate) fn into_parts(self) -> (Vec<u8>, usize) {
        (self.memory, self.start)
    }

    /// What [`into_parts`](Self::into_parts) gave, of a buffer with at least this alignment.
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
    fn it_is_aligned_and_long_enough() {
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
