//! The options of [`precompress`](crate::precompress).

use std::num::NonZeroUsize;

use karez_http::Coding;

use crate::encode::Level;

/// What is compressed, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub(crate) codings: Vec<Coding>,
    pub(crate) level: Level,
    pub(crate) min_size: u64,
    pub(crate) hidden: bool,
    pub(crate) dry_run: bool,
    pub(crate) jobs: NonZeroUsize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            codings: Coding::ALL.to_vec(),
            level: Level::Best,
            min_size: 1024,
            hidden: false,
            dry_run: false,
            jobs: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        }
    }
}

impl Options {
    /// Returns the default: every coding at its best level, for files of 1 KiB or more, a job for each core.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the codings.
    #[must_use]
    pub fn codings(mut self, codings: impl IntoIterator<Item = Coding>) -> Self {
        self.codings = codings.into_iter().collect();
        self
    }

    /// Sets the level.
    #[must_use]
    pub fn level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// Skips files that are shorter, in bytes: a response of one segment is not faster if it is compressed.
    #[must_use]
    pub fn min_size(mut self, bytes: u64) -> Self {
        self.min_size = bytes;
        self
    }

    /// Includes files and directories whose names begin with a dot.
    #[must_use]
    pub fn hidden(mut self, hidden: bool) -> Self {
        self.hidden = hidden;
        self
    }

    /// Compresses, but changes no file.
    #[must_use]
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Sets how many files are compressed at the same time.
    #[must_use]
    pub fn jobs(mut self, jobs: NonZeroUsize) -> Self {
        self.jobs = jobs;
        self
    }
}
