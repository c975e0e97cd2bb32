//! The driver of an event loop, and what its connections use again: buffers and pipes.

use super::pipes::Pipes;
use crate::driver::Completer;

/// Buffers that are kept for the next operation.
const KEPT: usize = 64;

/// The model, and what is used again.
pub(crate) struct Backend<C> {
    pub(crate) driver: C,
    pub(crate) pipes: Pipes,
    pub(crate) buffers: Vec<Vec<u8>>,
}

impl<C: Completer> Backend<C> {
    pub(crate) fn new(driver: C) -> Self {
        Self { driver, pipes: Pipes::default(), buffers: Vec::new() }
    }

    /// Keeps a buffer, whatever is in it.
    pub(crate) fn give_back(&mut self, buffer: Vec<u8>) {
        if self.buffers.len() < KEPT && buffer.capacity() > 0 {
            self.buffers.push(buffer);
        }
    }
}
