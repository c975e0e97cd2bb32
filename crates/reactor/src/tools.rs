//! What the connections of one completion reactor work with.

use crate::completer::Completer;
use crate::pipes::Pipes;

/// Buffers that are kept for the next operation.
const KEPT: usize = 64;

/// The model, and what is used again.
pub(crate) struct Tools<C> {
    pub(crate) completer: C,
    pub(crate) pipes: Pipes,
    pub(crate) buffers: Vec<Vec<u8>>,
}

impl<C: Completer> Tools<C> {
    pub(crate) fn new(completer: C) -> Self {
        Self { completer, pipes: Pipes::default(), buffers: Vec::new() }
    }

    /// Keeps a buffer, whatever is in it.
    pub(crate) fn give_back(&mut self, buffer: Vec<u8>) {
        if self.buffers.len() < KEPT && buffer.capacity() > 0 {
            self.buffers.push(buffer);
        }
    }
}
