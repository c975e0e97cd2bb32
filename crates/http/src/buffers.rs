//! Buffers for request heads and paths, pooled per thread: a request reuses those of an earlier one, and
//! allocates none.
//!
//! # Limitations
//!
//! A buffer that is dropped is freed. Only [`give_back`] returns it to the pool.

use std::cell::RefCell;

/// The most buffers in the pool of a thread.
const KEPT: usize = 64;

/// The largest capacity that is kept, in bytes.
const KEPT_CAPACITY: usize = 2 << 10;

thread_local! {
    static IDLE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Returns an empty buffer, which may have a capacity.
#[must_use]
pub fn take() -> Vec<u8> {
    IDLE.try_with(|idle| idle.borrow_mut().pop()).ok().flatten().unwrap_or_default()
}

/// Returns a buffer to the pool of this thread.
pub fn give_back(mut buffer: Vec<u8>) {
    if buffer.capacity() == 0 || buffer.capacity() > KEPT_CAPACITY {
        return;
    }
    buffer.clear();
    // While the thread ends there is no pool.
    let _ended = IDLE.try_with(|idle| {
        let mut idle = idle.borrow_mut();
        if idle.len() < KEPT {
            idle.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_buffer_is_used_again() {
        let mut buffer = super::take();
        buffer.extend_from_slice(b"GET");
        let pointer = buffer.as_ptr();
        super::give_back(buffer);
        let again = super::take();
        assert_eq!((again.as_ptr(), again.len()), (pointer, 0));
    }
}
