//! The next range of a file, for an event loop that reads it by its own operations.
//!
//! Such an event loop does not step a transfer: it takes a range, reads or splices it, and returns the
//! result to the [outbox](crate::Outbox), where it passes through the same fallback and the same
//! counters as that of a step.

use karez_sys::SharedFd;
use std::fmt;
use std::sync::Arc;

use crate::device::Device;
use crate::edit::{Edit, apply};
use crate::via::Via;

/// A range of a file.
#[doc(hidden)]
pub struct FileRange {
    /// The file.
    pub source: SharedFd,
    /// The offset of the range, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub length: usize,
    /// How many bytes of this file the outbox has left to send, from `offset` on.
    pub remaining: u64,
    /// The via for its bytes, if the event loop supports it.
    pub via: Via,
    /// The device of the file.
    pub device: Device,
    pub(crate) edits: Option<Arc<[Edit]>>,
    /// The file is verified between the read of this range and its send.
    pub(crate) verified: bool,
}

impl FileRange {
    /// Returns whether it has no edits.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.edits.is_none()
    }

    /// Returns whether a read of it may be linked to its send: it has no edits, and the file is not
    /// [verified](crate::FileToSocket::verified) in between.
    #[must_use]
    pub fn is_linkable(&self) -> bool {
        self.is_plain() && !self.verified
    }

    /// Applies the edits to `bytes`, which were read from the beginning of this range.
    pub fn edit(&self, bytes: &mut [u8]) {
        apply(self.edits.as_deref().unwrap_or_default(), self.offset, bytes);
    }
}

impl fmt::Debug for FileRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes from {} by {}", self.length, self.offset, self.via)
    }
}
