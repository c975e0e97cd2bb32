//! The options of a copy.

use karez_transfer::{CachePolicy, Via};
use std::num::NonZeroUsize;

/// The options of a copy.
///
/// The default copies regular files only, by [`Via::Auto`], replaces existing files, keeps no
/// attributes besides the permissions, and copies one file at a time.
///
/// ```
/// use karez_copy::Options;
///
/// let options = Options::new().archive(true).sync(true).jobs(8);
/// assert_eq!(options.jobs.get(), 8);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// The transfer method of each extent.
    pub via: Via,
    /// The page-cache policy.
    pub cache: CachePolicy,
    /// Copies directories with their content.
    pub recursive: bool,
    /// Keeps mode, times, extended attributes (and with them ACLs), hard links among the copied
    /// files and, if permitted, ownership; implies [`recursive`](Self::recursive). An attribute that
    /// cannot be set is reported in
    /// [`Summary::attribute_failures`](crate::Summary::attribute_failures), and the file is copied
    /// without it.
    pub archive: bool,
    /// Skips sources whose destination exists.
    pub keep_existing: bool,
    /// Returns when bytes, attributes and names are on the disk, by fsync(2) of each file, then of
    /// its directory, many at a time. Costs disk time: the disk flushes its cache for every few new
    /// files, and for each file that replaces another.
    pub sync: bool,
    /// Writes into an existing regular file instead of replacing it by a new one: its inode, hard
    /// links, owner and mode stay. An interrupted copy is incomplete.
    pub in_place: bool,
    /// Takes the name `-` for standard input as a source and for standard output as the target.
    pub standard_streams: bool,
    /// The number of files that are copied at the same time.
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
    /// Returns the default options.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the transfer method.
    #[must_use]
    pub fn via(mut self, via: Via) -> Self {
        self.via = via;
        self
    }

    /// Sets the page-cache policy.
    #[must_use]
    pub fn cache(mut self, cache: CachePolicy) -> Self {
        self.cache = cache;
        self
    }

    /// Sets whether directories are copied.
    #[must_use]
    pub fn recursive(mut self, recursive: bool) -> Self {
        self.recursive = recursive;
        self
    }

    /// Sets whether attributes and hard links are kept.
    #[must_use]
    pub fn archive(mut self, archive: bool) -> Self {
        self.archive = archive;
        self
    }

    /// Sets whether existing files are skipped.
    #[must_use]
    pub fn keep_existing(mut self, keep_existing: bool) -> Self {
        self.keep_existing = keep_existing;
        self
    }

    /// Sets whether the copy is synchronized to the disk.
    #[must_use]
    pub fn sync(mut self, sync: bool) -> Self {
        self.sync = sync;
        self
    }

    /// Sets whether existing files are written in place.
    #[must_use]
    pub fn in_place(mut self, in_place: bool) -> Self {
        self.in_place = in_place;
        self
    }

    /// Sets whether `-` names the standard streams.
    #[must_use]
    pub fn standard_streams(mut self, standard_streams: bool) -> Self {
        self.standard_streams = standard_streams;
        self
    }

    /// Sets the number of files that are copied at the same time; 0 counts as 1.
    #[must_use]
    pub fn jobs(mut self, jobs: usize) -> Self {
        self.jobs = NonZeroUsize::new(jobs).unwrap_or(NonZeroUsize::MIN);
        self
    }

    pub(crate) fn enters_directories(&self) -> bool {
        self.recursive || self.archive
    }
}
