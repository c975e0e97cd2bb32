//! Errors of archives.

use std::sync::Arc;

/// Why there is no archive.
#[derive(Clone, Debug)]
pub(crate) enum ArchiveError {
    /// It would take too much memory.
    Full,
    /// No descriptor is free.
    Busy,
    /// The text names operation and path.
    Failed(Arc<str>),
}
