//! Buffers of the thread for bytes that visit user space.
//!
//! What comes from a file only passes through: nothing stays in the buffer between two steps, so a
//! thread needs one however many transfers it drives, and a connection that waits holds none. What
//! came from a socket cannot be read again, so a transfer keeps the buffer that it is in until the
//! other side has taken it.

use std::cell::RefCell;

/// The least that a buffer is long, so that few are ever made anew.
const SIZE: usize = 48 << 10;

/// Idle buffers that a thread keeps.
const KEPT: usize = 4;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static IDLE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Lends at least `size` bytes of the thread to `use_it`, which must not step another transfer
/// inside.
pub(crate) fn with<T>(size: usize, use_it: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with_borrow_mut(|buffer| {
        if buffer.len() < size {
            *buffer = vec![0; size.max(SIZE)];
        }
        use_it(buffer)
    })
}

/// A buffer of at least `size` bytes, to keep for a while.
pub(crate) fn take(size: usize) -> Vec<u8> {
    let kept = IDLE.with_borrow_mut(Vec::pop).filter(|kept| kept.len() >= size);
    kept.unwrap_or_else(|| vec![0; size.max(SIZE)])
}

/// Gives it to the thread.
pub(crate) fn give_back(buffer: Vec<u8>) {
    IDLE.with_borrow_mut(|idle| {
        if idle.len() < KEPT {
            idle.push(buffer);
        }
    });
}
