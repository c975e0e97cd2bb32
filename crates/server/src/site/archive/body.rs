//! The body of an archive: heads in memory, and parts of files by reference, a few files at a time.
//!
//! A step opens the next files and makes the heads in front of them. The connection sends them, and asks for the
//! next step when they have been sent; so a slow client holds 16 descriptors at most.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use karez_transfer::Device;

use super::super::lookup_error::LookupError;
use super::super::open_file::OpenFile;
use super::super::state::Site;
use super::header::padded;
use super::index::{Archive, Entry};
use crate::torn::Torn;

/// The most files of a step.
const FILES: usize = 16;
/// With more bytes in memory than this a step ends.
const MEMORY: usize = 64 << 10;

/// A piece of the body of a response.
#[derive(Clone, Debug)]
pub(crate) enum ArchivePiece {
    /// The head of a part, in `multipart/byteranges`.
    Bytes(Vec<u8>),
    /// A range of the archive.
    Range(Range<u64>),
}

/// A body that is sent.
pub(crate) struct ArchiveBody {
    site: Arc<Site>,
    archive: Arc<Archive>,
    pieces: VecDeque<ArchivePiece>,
    torn: Torn,
}

/// A part that is ready to be sent.
pub(crate) enum ArchivePart {
    Bytes(Vec<u8>),
    File(Arc<OpenFile>, Range<u64>),
}

/// The result of a step.
pub(crate) enum ArchiveStep {
    /// The next parts; empty only behind the last.
    Parts(Vec<ArchivePart>),
    /// A file is not the one of the index.
    Changed,
    /// The text names operation and path.
    Failed(String),
}

/// The parts of a step.
#[derive(Default)]
struct Parts {
    parts: Vec<ArchivePart>,
    files: usize,
    memory: usize,
}

impl ArchiveBody {
    pub(crate) fn new(
        site: Arc<Site>,
        archive: Arc<Archive>,
        pieces: Vec<ArchivePiece>,
        torn: Torn,
    ) -> Self {
        Self { site, archive, pieces: pieces.into(), torn }
    }

    /// Returns whether all of it has been returned.
    pub(crate) fn is_complete(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Returns the device that a step waits for.
    pub(crate) fn device(&self) -> Device {
        self.archive.device
    }

    /// Opens the next files.
    pub(crate) fn step(&mut self) -> ArchiveStep {
        let mut out = Parts::default();
        while out.files < FILES && out.memory < MEMORY {
            match self.pieces.pop_front() {
                None => break,
                Some(ArchivePiece::Bytes(bytes)) => out.push_bytes(&bytes),
                Some(ArchivePiece::Range(range)) if range.is_empty() => {}
                Some(ArchivePiece::Range(range)) => match self.push_entry(&range, &mut out) {
                    Ok(next) if next >= range.end => {}
                    Ok(next) => self.pieces.push_front(ArchivePiece::Range(next..range.end)),
                    Err(failed) => return failed,
                },
            }
        }
        ArchiveStep::Parts(out.parts)
    }

    /// Pushes the bytes of a range that are of its first entry. Returns where the next begins.
    fn push_entry(&self, range: &Range<u64>, out: &mut Parts) -> Result<u64, ArchiveStep> {
        let Some((entry, next)) = self.archive.at(range.start) else {
            out.push_zeros(range);
            return Ok(range.end);
        };
        let content_length = entry.content_length();
        let content_start = next - padded(content_length);
        let content_end = content_start + content_length;
        let wanted = |part: Range<u64>| range.start.max(part.start)..range.end.min(part.end);
        let head = wanted(entry.offset..content_start);
        if !head.is_empty() {
            out.push_bytes(slice(&self.archive.head(entry), entry.offset, &head));
        }
        let content = wanted(content_start..content_end);
        if !content.is_empty() {
            let file = self.open(entry)?;
            let range = content.start - content_start..content.end - content_start;
            out.parts.push(ArchivePart::File(file, range));
            out.files += 1;
        }
        out.push_zeros(&wanted(content_end..next));
        Ok(next.min(range.end))
    }

    /// Opens the file of an entry, unless it is another one now.
    fn open(&self, entry: &Entry) -> Result<Arc<OpenFile>, ArchiveStep> {
        let path = self.archive.path(entry);
        match self.site.open_member(&self.archive.root, &path) {
            Ok(Some(file)) if self.is_sent(&file, entry) => Ok(file),
            Ok(_) | Err(LookupError::Missing | LookupError::Denied) => Err(ArchiveStep::Changed),
            Err(LookupError::Failed(error)) => Err(ArchiveStep::Failed(error.to_string())),
            Err(LookupError::Busy | LookupError::WouldWait) => {
                let path = String::from_utf8_lossy(&path);
                Err(ArchiveStep::Failed(format!("openat2 {path:?}: no descriptor is free")))
            }
        }
    }

    /// Returns whether a file is sent as the content of an entry. Where torn files are allowed, a version
    /// that is long enough is.
    fn is_sent(&self, file: &OpenFile, entry: &Entry) -> bool {
        let allowed = self.torn == Torn::Allow && file.size() >= entry.content_length();
        allowed || *file.identity() == entry.identity
    }
}

impl Parts {
    /// Appends bytes to those in front, if there are some.
    fn push_bytes(&mut self, bytes: &[u8]) {
        self.memory += bytes.len();
        match self.parts.last_mut() {
            Some(ArchivePart::Bytes(before)) => before.extend_from_slice(bytes),
            _ => self.parts.push(ArchivePart::Bytes(bytes.to_vec())),
        }
    }

    /// Appends as many zeros as a range is long: padding, or the end of the archive.
    fn push_zeros(&mut self, range: &Range<u64>) {
        if !range.is_empty() {
            let length = usize::try_from(range.end - range.start).unwrap_or(0);
            self.push_bytes(&vec![0; length]);
        }
    }
}

/// Returns the part of bytes that begin at an offset.
fn slice<'a>(bytes: &'a [u8], offset: u64, range: &Range<u64>) -> &'a [u8] {
    let at = |position: u64| usize::try_from(position - offset).unwrap_or(usize::MAX);
    bytes.get(at(range.start)..at(range.end)).unwrap_or_default()
}
