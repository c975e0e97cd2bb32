//! What a copy may be told besides from where to where.

use karez_transfer::{CachePolicy, Via};
use std::num::NonZeroUsize;

/// How to copy. Unless told: files only, by `auto`, replacing what is there, one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The way to move the bytes of each extent.
    pub via: Via,
    /// What becomes of the page cache.
    pub cache: CachePolicy,
    /// Directories, with all that is in them.
    pub recursive: bool,
    /// Keeps mode, times, extended attributes (and with them ACLs), hard links within what is
    /// copied and, where it is permitted, ownership; implies [`recursive`](Self::recursive). What
    /// the destination refuses is reported ([`Account::unkept`](crate::Account::unkept)) and left out.
    pub archive: bool,
    /// Leaves alone what is there already.
    pub keep_existing: bool,
    /// Returns when all of it is on the disk: bytes, attributes and names, by fsync(2) of each file,
    /// then of its directory, many at once. It costs the time of the disk: without it a copy is
    /// done at the speed of memory; with it the disk has written everything, and flushes its cache
    /// for every few new files, and for each file that replaces another.
    pub sync: bool,
    /// Writes into a regular file that is there, instead of replacing it by a new one: its inode,
    /// hard links, owner and mode stay, and an interrupted copy leaves a part.
    pub in_place: bool,
    /// The name `-` means standard input as a source and standard output as the target.
    pub standard_streams: bool,
    /// How many files are copied at once.
    pub jobs: NonZeroUsize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            via: Via::Auto,
            cache: CachePolicy::Keep,
            recursive: false,
            archive: false,
            keep_existing: false,
            sync: false,
            in_place: false,
            standard_streams: false,
            jobs: NonZeroUsize::MIN,
        }
    }
}

impl Options {
    pub(crate) fn enters_directories(&self) -> bool {
        self.recursive || self.archive
    }
}
