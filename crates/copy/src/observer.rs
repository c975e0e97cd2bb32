//! Progress callbacks, and the request to stop.

use std::path::Path;

use crate::error::Error;

/// Receives progress and errors, and may stop the copy.
///
/// All copying threads call it, often; a slow callback slows the copy down.
pub trait Observer: Sync {
    /// Called when the copy of a file of `bytes` bytes begins.
    fn file_found(&self, bytes: u64) {
        let _unused = bytes;
    }

    /// Called when the copy of a source of unknown length begins.
    fn stream_found(&self) {}

    /// Called when `bytes` more bytes of a file were moved or skipped as a hole.
    fn advanced(&self, bytes: u64) {
        let _unused = bytes;
    }

    /// Called when a file is complete and has its final name.
    fn file_done(&self) {}

    /// Called when a file or directory could not be copied. The copy continues with the next one.
    fn failed(&self, error: &Error) {
        let _unused = error;
    }

    /// Called when an attribute could not be set and cp(1) would exit with 1 for it
    /// ([`AttributeFailure::fails`](crate::AttributeFailure::fails)). The file is copied without it.
    fn attribute_failed(&self, error: &Error) {
        let _unused = error;
    }

    /// Called for an unusual source that is no error; `why` is a sentence without its subject.
    fn warned(&self, source: &Path, why: &'static str) {
        let _unused = (source, why);
    }

    /// Returns whether to stop. The copy stops after the current step; incomplete files are removed.
    fn should_stop(&self) -> bool {
        false
    }
}

/// An observer that ignores every event and never stops the copy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {}
