//! What a caller sees of the work.

use std::path::Path;

use karez_http::Coding;

use crate::error::Error;

/// What was done for a file in one coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A compressed file of this length was written.
    Written {
        /// Its length, in bytes.
        bytes: u64,
    },
    /// The compressed file is not older than the original.
    Current,
    /// The compressed content is not smaller, and there is no compressed file.
    NotSmaller,
    /// The outdated compressed file was removed: a new one would not be smaller.
    Removed,
}

/// Sees what happens, from several threads.
pub trait Observer: Sync {
    /// A file was found, whose work is this number of bytes to be read.
    fn found(&self, bytes: u64) {
        let _ = bytes;
    }

    /// Bytes were read.
    fn advanced(&self, bytes: u64) {
        let _ = bytes;
    }

    /// A file is done in one coding.
    fn done(&self, original: &Path, coding: Coding, action: Action) {
        let _ = (original, coding, action);
    }

    /// A file or directory failed; the work goes on with the next.
    fn failed(&self, error: &Error) {
        let _ = error;
    }

    /// Returns whether the work is to stop. A file under way is left as it was.
    fn should_stop(&self) -> bool {
        false
    }
}

/// Sees nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {}
