//! What a transfer is about, and how far along it is: the offsets, what remains, what was asked.

use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use crate::direction::Direction;
use crate::settings::{Cold, Settings};
use crate::step::{Edit, End, Piece};

/// The descriptors of a transfer, lent for one step.
#[derive(Clone, Copy)]
pub(crate) struct Ends<'a> {
    pub(crate) from: BorrowedFd<'a>,
    pub(crate) to: BorrowedFd<'a>,
}

pub(crate) struct Course {
    pub(crate) direction: Direction,
    pub(crate) settings: Settings,
    /// Where the next byte stands in the file it comes from, if that is one.
    pub(crate) from: Option<u64>,
    /// Where the next byte stands in the file it goes to, if that is one.
    pub(crate) to: Option<u64>,
    pub(crate) remaining: u64,
    /// It ends where the source does, however much remains.
    pub(crate) open_ended: bool,
    pub(crate) edits: Option<Arc<[Edit]>>,
}

impl Course {
    /// From the bytes `from` of a file, or from a stream.
    pub(crate) fn new(
        direction: Direction,
        from: Option<Range<u64>>,
        to: Option<u64>,
        settings: Settings,
    ) -> Self {
        let remaining = from.as_ref().map(|range| range.end.saturating_sub(range.start));
        Self {
            direction,
            settings,
            from: from.map(|range| range.start),
            to,
            remaining: remaining.unwrap_or(u64::MAX),
            open_ended: remaining.is_none(),
            edits: None,
        }
    }

    /// The same, but at most `len` bytes of a stream; with less it is truncated.
    pub(crate) fn limited_to(mut self, len: Option<u64>) -> Self {
        if let Some(len) = len {
            self.remaining = len;
            self.open_ended = false;
        }
        self
    }

    /// What comes next: at most a `chunk` at a time.
    pub(crate) fn piece<'a>(&'a self, ends: Ends<'a>, chunk: u64, more: bool) -> Piece<'a> {
        Piece {
            from: End { fd: ends.from, at: self.from },
            to: End { fd: ends.to, at: self.to },
            len: self.remaining,
            chunk: chunk.min(self.remaining),
            more,
            uncached: false,
            tells: self.settings.cold == Cold::Tell,
            pipes: self.direction.has_pipe(),
            pipe: self.settings.pipe,
            edits: self.edits.as_deref().unwrap_or_default(),
        }
    }

    /// What remains, if that is known before the source ends.
    pub(crate) fn promised(&self) -> Option<u64> {
        (!self.open_ended).then_some(self.remaining)
    }

    /// Counts bytes that moved.
    pub(crate) fn advance(&mut self, moved: u64) {
        self.from = self.from.map(|at| at + moved);
        self.to = self.to.map(|at| at + moved);
        self.remaining = self.remaining.saturating_sub(moved);
    }
}
