//! A range of a file that is to leave next, for a backend that reads it by operations of its own.
//!
//! Such a backend does not step a transfer: it takes a range, has it read (or spliced) in whatever
//! way it knows, and returns the result to the [outbox](crate::Outbox), where it goes through the
//! same fallback and the same counters as that of a step.

use crate::device::Device;
use crate::file_to_socket::Source;
use crate::step::Edit;
use crate::via::{Via, copy};
use std::fmt;
use std::sync::Arc;

/// A range of a file.
pub struct FileRange {
    /// The file.
    pub source: Source,
    /// Where the range begins, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub length: usize,
    /// How many bytes of this file the outbox has still to send, from `offset` on.
    pub remaining: u64,
    /// How its bytes are to be moved, if the backend can.
    pub via: Via,
    /// Where the file lies.
    pub device: Device,
    pub(crate) edits: Option<Arc<[Edit]>>,
}

impl FileRange {
    /// Returns whether its bytes may be sent as they stand in the file.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.edits.is_none()
    }

    /// Makes the edits that fall into `bytes`, which were read from the beginning of this range.
    pub fn edit(&self, bytes: &mut [u8]) {
        copy::apply(self.edits.as_deref().unwrap_or_default(), self.offset, bytes);
    }
}

impl fmt::Debug for FileRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes from {} by {}", self.length, self.offset, self.via)
    }
}
