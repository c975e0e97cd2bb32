//! The resource that a request names, and the result of its lookup.

use std::io;
use std::sync::Arc;

use karez_http::Codings;

use super::archive::ArchiveDirectory;
use super::listing::{Listing, ListingView};
use super::lookup_error::LookupError;
use super::open_file::OpenFile;

/// The resource that a request names.
#[derive(Debug, Clone)]
pub(crate) struct ResourceRequest {
    /// Decoded and relative, "" for the root; no empty, "." or ".." segment, no slash at the end.
    pub(crate) path: Vec<u8>,
    /// The URL ended with a slash.
    pub(crate) directory: bool,
    /// Codings in which a precompressed file may be sent, best first.
    pub(crate) codings: Codings,
    /// A part of the file is asked for.
    pub(crate) ranged: bool,
    /// Format and order of a listing.
    pub(crate) view: ListingView,
}

/// The result of a lookup.
pub(crate) enum LookupResult {
    /// A file. It knows itself whether it is precompressed.
    File {
        file: Arc<OpenFile>,
        /// The plain file, if `file` is a precompressed one.
        original: Option<Arc<OpenFile>>,
    },
    /// A directory that was requested without its slash.
    MissingSlash,
    /// A directory without an index file.
    Directory(Box<Listing>),
    /// The same, asked for as an archive.
    Archive(Box<ArchiveDirectory>),
    /// A directory without an index file where listings are off.
    ListingForbidden,
    /// No file or directory that is served.
    Missing,
    /// Not permitted.
    Denied,
    /// No descriptor is free, or renames interfered too often: a later try may succeed.
    Busy,
    /// The text names operation and path.
    Failed(io::Error),
}

impl From<LookupError> for LookupResult {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::Missing => Self::Missing,
            LookupError::Denied => Self::Denied,
            LookupError::Busy | LookupError::WouldWait => Self::Busy,
            LookupError::Failed(error) => Self::Failed(error),
        }
    }
}
