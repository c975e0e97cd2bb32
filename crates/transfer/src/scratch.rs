//! One buffer a thread for bytes that only pass through.
//!
//! Nothing stays in it between two steps, so a thread needs one however many transfers it drives,
//! and a connection that waits holds none.

use std::cell::RefCell;

/// 128 KiB: where the cost per byte of `pread` + `send` stops falling, and still inside the L2.
const SIZE: usize = 128 << 10;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Lends the thread's buffer to `use_it`, which must not step another transfer inside.
pub(crate) fn with<T>(use_it: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with_borrow_mut(|buffer| {
        if buffer.is_empty() {
            *buffer = vec![0; SIZE];
        }
        use_it(buffer)
    })
}
