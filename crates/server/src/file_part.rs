//! A part of an open file in the body of a response.
//!
//! It becomes a transfer when it goes into the outbox: a transfer has some hundred bytes, which would be moved
//! at each layer between; and a content in memory needs none.

use std::ops::Range;
use std::sync::Arc;

use karez_transfer::{FileToSocket, Outbox, Settings, Version, Via};

use crate::site::OpenFile;

/// A part of an open file, to be sent.
pub(crate) struct FilePart {
    pub(crate) file: Arc<OpenFile>,
    pub(crate) start: u64,
    pub(crate) length: u64,
    pub(crate) via: Via,
    /// The version that the file must have when its last byte is sent.
    pub(crate) version: Option<Version>,
    /// The content of the whole file, if it is in memory.
    pub(crate) content: Option<Arc<[u8]>>,
}

impl FilePart {
    /// Appends the part to an outbox.
    pub(crate) fn push_to(self, outbox: &mut Outbox) {
        match self.content_to_send(outbox) {
            Some((content, range)) => outbox.push_content(content, range),
            None => outbox.push_file(self.into_transfer()),
        }
    }

    /// Returns the transfer of the part.
    pub(crate) fn into_transfer(self) -> FileToSocket {
        let Self { file, start, length, via, version, content } = self;
        let range = start..start + length;
        let settings = Settings::from(via).device(file.device()).cache(file.cache_policy());
        let residency = Arc::clone(file.residency());
        let transfer = match file.edits().cloned() {
            None => FileToSocket::new(file, range, settings),
            Some(edits) => FileToSocket::edited(file, range, edits, settings),
        };
        let transfer = transfer.residency(residency).verified(version);
        match content {
            Some(content) => transfer.with_content(content, 0),
            None => transfer,
        }
    }

    /// Returns the bytes of the part, if they can be sent from memory without a transfer.
    fn content_to_send(&self, outbox: &Outbox) -> Option<(Arc<[u8]>, Range<usize>)> {
        let content = self.content.as_ref().filter(|_| !outbox.reports_files())?;
        let start = usize::try_from(self.start).ok()?;
        let range = start..start.checked_add(usize::try_from(self.length).ok()?)?;
        content.get(range.clone())?;
        Some((Arc::clone(content), range))
    }
}
