//! Buffers for bytes that pass through user space, pooled per thread.
//!
//! Bytes of a file do not stay in the buffer between two steps, so a thread needs one buffer for all of
//! its transfers, and a blocked connection holds none. Bytes of a socket cannot be read again, so a
//! transfer keeps their buffer until the sink has taken them.

use std::cell::RefCell;

/// The least length of a buffer, so that few have to be reallocated.
const SIZE: usize = 48 << 10;

/// The most idle buffers in the pool of a thread.
const KEPT: usize = 4;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static IDLE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Calls `use_it` with at least `size` bytes; it must not step another transfer.
pub(crate) fn with<T>(size: usize, use_it: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with_borrow_mut(|buffer| {
        if buffer.len() < size {
            *buffer = vec![0; size.max(SIZE)];
        }
        use_it(buffer)
    })
}

/// Returns a buffer of at least `size` bytes from the pool.
pub(crate) fn take(size: usize) -> Vec<u8> {
    let kept = IDLE.with_borrow_mut(Vec::pop).filter(|kept| kept.len() >= size);
    kept.unwrap_or_else(|| vec![0; size.max(SIZE)])
}

/// Returns a buffer to the pool.
pub(crate) fn give_back(buffer: Vec<u8>) {
    IDLE.with_borrow_mut(|idle| {
        if idle.len() < KEPT && buffer.capacity() > 0 {
            idle.push(buffer);
        }
    });
}
