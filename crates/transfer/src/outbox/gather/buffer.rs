//! The buffer of a gather, and its position in the outbox.

use std::ops::Range;

use crate::seal::RecordKind;

/// Collects segments in one buffer.
#[doc(hidden)]
#[derive(Debug)]
pub struct Gather {
    /// It keeps its length, so that no byte is cleared that will be overwritten.
    pub(super) buffer: Vec<u8>,
    /// Where the plaintext ends.
    pub(super) filled: usize,
    /// Where the plaintext begins.
    pub(super) start: usize,
    /// The most plaintext.
    pub(super) most: usize,
    pub(super) kind: Option<RecordKind>,
    /// The current segment, counted from the front, and how many bytes of it are in the buffer.
    pub(super) segment: usize,
    pub(super) within: u64,
    /// The position of the current unit in the buffer.
    pub(super) unit: usize,
    /// The part of the buffer for the requested range.
    pub(super) requested: Range<usize>,
    pub(super) ended: bool,
}

impl Gather {
    /// Returns the gathered bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }

    /// Takes the buffer for an operation that reads the requested range into its end. Returns it with the
    /// position of the range.
    pub fn take_buffer(&mut self) -> (Vec<u8>, usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.truncate(self.requested.end);
        (buffer, self.requested.start)
    }

    /// Returns the buffer after the operation.
    pub fn put_buffer(&mut self, buffer: Vec<u8>) {
        self.buffer = buffer;
    }

    /// Returns the length of the requested range.
    #[must_use]
    pub fn requested_length(&self) -> usize {
        self.requested.len()
    }

    /// Ends with the gathered bytes.
    #[must_use]
    pub fn into_bytes(mut self) -> Vec<u8> {
        self.buffer.truncate(self.filled);
        self.buffer
    }

    /// Ends with the buffer, for its capacity.
    #[must_use]
    pub fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    pub(super) fn plain(&self) -> usize {
        self.filled - self.start
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let end = self.filled + bytes.len();
        self.grow_to(end);
        self.buffer[self.filled..end].copy_from_slice(bytes);
        self.filled = end;
    }

    pub(super) fn push_zeros(&mut self, count: usize) {
        let end = self.filled + count;
        self.grow_to(end);
        self.buffer[self.filled..end].fill(0);
        self.filled = end;
    }

    pub(super) fn grow_to(&mut self, length: usize) {
        if self.buffer.len() < length {
            self.buffer.resize(length, 0);
        }
    }
}
