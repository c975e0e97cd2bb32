//! A segment of the outbox, and the sent part of it.

use std::fmt;

use super::bytes::Bytes;
use super::event::Mark;
use super::unit::{Files, Unit};
use crate::file_to_socket::FileToSocket;
use crate::seal::{RecordKind, Seal};
use crate::switch::Switch;

pub(super) enum Segment {
    Memory {
        bytes: Bytes,
        sent: usize,
        kind: RecordKind,
    },
    /// Memory that is never sealed.
    Raw {
        bytes: Bytes,
        sent: usize,
    },
    File(Box<FileToSocket>),
    Unit(Unit),
    Mark(Mark),
    /// Seals the segments behind it.
    Seal(Box<dyn Seal>),
    /// Changes the socket for the segments behind it.
    Switch(Box<dyn Switch>),
}

impl Segment {
    /// Returns how many bytes of it have not been sent.
    pub(super) fn remaining(&self) -> u64 {
        match self {
            Self::Memory { bytes, sent, .. } | Self::Raw { bytes, sent } => {
                (bytes.len() - sent) as u64
            }
            Self::File(transfer) => transfer.remaining(),
            Self::Unit(unit) => unit.remaining(),
            Self::Mark(_) | Self::Seal(_) | Self::Switch(_) => 0,
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
            Self::Mark(_) | Self::Seal(_) | Self::Switch(_) => {}
        }
        mine
    }

    /// Returns whether it has been sent completely. A seal or a switch takes effect when it is in front.
    pub(super) fn is_complete(&self) -> bool {
        !matches!(self, Self::Seal(_) | Self::Switch(_)) && self.remaining() == 0
    }

    /// Returns the kind of the records that may have its bytes; `None` if it has no bytes to seal.
    pub(super) fn kind(&self) -> Option<RecordKind> {
        match self {
            Self::Memory { kind, .. } => Some(*kind),
            Self::File(_) | Self::Unit(_) => Some(RecordKind::DATA),
            Self::Raw { .. } | Self::Mark(_) | Self::Seal(_) | Self::Switch(_) => None,
        }
    }

    /// Returns whether it is sent together with the memory in front of it.
    pub(super) fn is_inlined(&self) -> bool {
        match self {
            Self::Memory { bytes, .. } => matches!(bytes, Bytes::Shared { .. }),
            Self::File(transfer) => transfer.is_inlined(),
            _ => false,
        }
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
            Self::Switch(_) => f.write_str("switch"),
        }
    }
}
