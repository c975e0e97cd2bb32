//! The position of a transfer: the next offset at each end, and the remaining length.

use std::ops::Range;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor {
    /// The offset of the next byte in the source; `None` for a stream.
    pub(crate) from: Option<u64>,
    /// The offset of the next byte in the sink; `None` for a stream.
    pub(crate) to: Option<u64>,
    /// The bytes left; `u64::MAX` or less if the transfer ends where the source does.
    pub(crate) remaining: u64,
    /// The transfer ends where the source does, whatever remains.
    pub(crate) open_ended: bool,
}

impl Cursor {
    /// Starts at a range of a source file.
    pub(crate) fn of_file(range: Range<u64>, to: Option<u64>) -> Self {
        let remaining = range.end.saturating_sub(range.start);
        Self { from: Some(range.start), to, remaining, open_ended: false }
    }

    /// Starts at a stream, of which `len` bytes are wanted, or all of them.
    pub(crate) fn of_stream(len: Option<u64>, to: Option<u64>) -> Self {
        let remaining = len.unwrap_or(u64::MAX);
        Self { from: None, to, remaining, open_ended: len.is_none() }
    }

    /// Counts bytes that moved.
    pub(crate) fn advance(&mut self, moved: u64) {
        self.from = self.from.map(|at| at + moved);
        self.to = self.to.map(|at| at + moved);
        self.remaining = self.remaining.saturating_sub(moved);
    }

    /// Returns the remaining length, if it is known before the source ends.
    pub(crate) fn known_remaining(&self) -> Option<u64> {
        (!self.open_ended).then_some(self.remaining)
    }
}
