//! Buffers that begin where a disk wants them to, kept by the thread.
//!
//! A buffer is in one of two places, like a pipe: with the thread, or with the transfer whose
//! bytes are in it. Reading a disk is too dear to do twice, so unlike `copy` a transfer by
//! `direct` keeps what the socket did not take.

use std::cell::RefCell;

/// How much is read at a time: enough for a disk to stream.
pub(crate) const SIZE: usize = 512 << 10;

/// The alignment that satisfies every disk and file system so far (`STATX_DIOALIGN` gives less).
pub(crate) const ALIGNMENT: usize = 4096;

/// Idle buffers that a thread keeps.
const KEPT: usize = 4;

thread_local! {
    static IDLE: RefCell<Vec<Aligned>> = const { RefCell::new(Vec::new()) };
}

/// [`SIZE`] bytes at an address that is a multiple of [`ALIGNMENT`].
#[derive(Debug)]
pub(crate) struct Aligned {
    memory: Vec<u8>,
    start: usize,
}

impl Aligned {
    /// One of the thread's, or a new one. What is in it is anybody's guess.
    pub(crate) fn take() -> Self {
        IDLE.with_borrow_mut(Vec::pop).unwrap_or_else(Self::new)
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
        &self.memory[self.start..][..SIZE]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..][..SIZE]
    }

    fn new() -> Self {
        let memory = vec![0; SIZE + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        Self { memory, start }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_aligned_and_whole() {
        let mut buffer = Aligned::take();
        assert!(buffer.bytes().as_ptr().addr().is_multiple_of(ALIGNMENT));
        assert_eq!(buffer.bytes_mut().len(), SIZE);
    }
}
