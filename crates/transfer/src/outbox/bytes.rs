//! The bytes of a memory segment: owned, or the content of a file that many responses share. Owned
//! buffers of sent bytes are pooled per thread, so that the next response head allocates none.
//!
//! # Limitations
//!
//! Only buffers that an outbox has sent are pooled, and only small ones.

use std::cell::RefCell;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// The most buffers in the pool of a thread.
const KEPT: usize = 64;

/// The largest capacity of a buffer in the pool, in bytes.
const KEPT_CAPACITY: usize = 2 << 10;

thread_local! {
    static IDLE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

pub(super) enum Bytes {
    Owned(Vec<u8>),
    Shared { bytes: Arc<[u8]>, range: Range<usize> },
}

impl Bytes {
    /// Returns an empty buffer, which may have a capacity.
    pub(super) fn buffer() -> Vec<u8> {
        IDLE.try_with(|idle| idle.borrow_mut().pop()).ok().flatten().unwrap_or_default()
    }

    /// Drops the bytes, which have been sent, and returns their buffer to the pool.
    pub(super) fn recycle(self) {
        if let Self::Owned(mut buffer) = self
            && (1..=KEPT_CAPACITY).contains(&buffer.capacity())
        {
            buffer.clear();
            // While the thread ends there is no pool.
            let _ended = IDLE.try_with(|idle| {
                let mut idle = idle.borrow_mut();
                if idle.len() < KEPT {
                    idle.push(buffer);
                }
            });
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Shared { bytes, range } => bytes.get(range.clone()).unwrap_or_default(),
        }
    }
}
