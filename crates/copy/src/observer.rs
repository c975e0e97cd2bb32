//! Somebody who is told what happens while it does, and may end it.

use std::path::Path;

use crate::error::Error;

/// Told by all threads that copy, often: it should not take long.
pub trait Observer: Sync {
    /// One more file of this many bytes is to be copied.
    fn found(&self, bytes: u64) {
        let _unused = bytes;
    }

    /// One more source is to be copied whose length is not known.
    fn found_stream(&self) {}

    /// So many more bytes of a file are in place, moved or left out as a hole.
    fn advanced(&self, bytes: u64) {
        let _unused = bytes;
    }

    /// A file is whole and has its name.
    fn placed(&self) {}

    /// Something could not be copied. The rest goes on.
    fn failed(&self, error: &Error) {
        let _unused = error;
    }

    /// An attribute was refused for which cp(1) would end with exit code 1
    /// ([`Unkept::fails`](crate::Unkept::fails)). The file is copied all the same.
    fn unkept(&self, error: &Error) {
        let _unused = error;
    }

    /// Something about a source is odd, but no failure; `why` is a sentence without its subject.
    fn warned(&self, source: &Path, why: &'static str) {
        let _unused = (source, why);
    }

    /// Whether to stop where it is: files that are not whole go without a trace.
    fn stops(&self) -> bool {
        false
    }
}

/// Nobody in particular.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {}
