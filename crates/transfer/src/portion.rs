//! The next bytes of an outbox, for a model that hands buffers to the kernel by value.
//!
//! Such a model does not step: it asks for a portion, has it read and sent in whatever way it
//! knows, and says how many bytes went. The outbox stays where it is meanwhile.
//!
//! What it does badly: memory is copied once more on its way into the buffer that the kernel gets,
//! and of the settings only the via is looked at, not how the page cache is to be treated.

use crate::device::Device;
use crate::file_to_socket::Source;
use crate::step::Edit;
use crate::via::{Via, copy};
use std::fmt;
use std::sync::Arc;

/// What is to be sent next.
#[derive(Debug)]
pub struct Portion {
    /// What is to be read into the end of the buffer before it is sent, or to be passed on without
    /// one; what stands in front of it is there already.
    pub file: Option<FilePart>,
    /// There is more behind it.
    pub more: bool,
}

/// A part of a file.
pub struct FilePart {
    /// The file.
    pub source: Source,
    /// Where the part begins in it.
    pub offset: u64,
    /// How long it is.
    pub length: usize,
    /// How many bytes the outbox has still to send of this file.
    pub remaining: u64,
    /// Where the file lies.
    pub device: Device,
    /// How its bytes are to be moved, if the model can.
    pub via: Via,
    pub(crate) edits: Option<Arc<[Edit]>>,
}

impl FilePart {
    /// Whether its bytes may be sent as they stand in the file.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.edits.is_none()
    }

    /// Makes the edits that fall into `bytes`, which were read from the beginning of this part.
    pub fn edit(&self, bytes: &mut [u8]) {
        copy::apply(self.edits.as_deref().unwrap_or_default(), self.offset, bytes);
    }
}

impl fmt::Debug for FilePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes from {} by {}", self.length, self.offset, self.via)
    }
}
