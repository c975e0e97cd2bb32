//! A segment of the outbox, and how much of it has left.

use std::fmt;

use super::Mark;
use super::unit::{Files, Unit};
use crate::file_to_socket::FileToSocket;
use crate::seal::{RecordKind, Seal};

pub(super) enum Segment {
    Memory {
        bytes: Vec<u8>,
        sent: usize,
        kind: RecordKind,
    },
    /// Never sealed.
    Raw {
        bytes: Vec<u8>,
        sent: usize,
    },
    File(Box<FileToSocket>),
    Unit(Unit),
    Mark(Mark),
    /// Seals everything behind it.
    Seal(Box<dyn Seal>),
}

impl Segment {
    /// Returns how many bytes of it have not left.
    pub(super) fn remaining(&self) -> u64 {
        match self {
            Self::Memory { bytes, sent, .. } | Self::Raw { bytes, sent } => {
                (bytes.len() - sent) as u64
            }
            Self::File(transfer) => transfer.remaining(),
            Self::Unit(unit) => unit.remaining(),
            Self::Mark(_) | Self::Seal(_) => 0,
        }
    }

    /// Counts off as many of `moved` bytes as belong to this segment, and returns how many.
    pub(super) fn advance(&mut self, moved: u64, files: &mut Files) -> u64 {
        let mine = moved.min(self.remaining());
        match self {
            Self::Memory { sent, .. } | Self::Raw { sent, .. } => {
                *sent += usize::try_from(mine).unwrap_or(0);
            }
            Self::File(transfer) => transfer.advance(mine),
            Self::Unit(unit) => unit.advance(mine, files),
            Self::Mark(_) | Self::Seal(_) => {}
        }
        mine
    }

    /// Returns whether all of it has left. A seal takes effect when it is in front.
    pub(super) fn is_complete(&self) -> bool {
        !matches!(self, Self::Seal(_)) && self.remaining() == 0
    }

    pub(super) fn is_of_file(&self) -> bool {
        matches!(self, Self::File(_) | Self::Unit(_))
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory { bytes, sent, .. } => write!(f, "memory {sent}/{}", bytes.len()),
            Self::Raw { bytes, sent } => write!(f, "raw {sent}/{}", bytes.len()),
            Self::File(transfer) => transfer.fmt(f),
            Self::Unit(unit) => unit.fmt(f),
            Self::Mark(mark) => mark.fmt(f),
            Self::Seal(_) => f.write_str("seal"),
        }
    }
}
