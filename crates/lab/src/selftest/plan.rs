//! Parameters of a self-test.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::probe::{Counters, Scope, Unavailable};
use crate::workers::WorkerCommand;

/// File size of a full self-test.
const FULL_BYTES: u64 = 64 << 20;

/// Parameters of a self-test.
#[derive(Clone, Debug)]
pub struct SelfTestPlan {
    /// How to start workers.
    pub workers: WorkerCommand,
    /// Directory of the test files, on a disk: a file system in memory has no cold files.
    pub directory: PathBuf,
    /// File size of most checks.
    pub bytes: u64,
    /// Chunk size.
    pub chunk: u32,
    /// A BPF object instead of the built-in one.
    pub object: Option<PathBuf>,
}

impl SelfTestPlan {
    /// Creates parameters for 64 MiB in chunks of 64 KiB.
    #[must_use]
    pub fn new(workers: WorkerCommand, directory: &Path) -> Self {
        let (bytes, chunk) = (FULL_BYTES, 64 << 10);
        Self { workers, directory: directory.to_owned(), bytes, chunk, object: None }
    }

    /// Reduces the size to 8 MiB.
    #[must_use]
    pub fn quick(self) -> Self {
        Self { bytes: 8 << 20, ..self }
    }

    /// Returns the duration of the idle check: one second, less in a smaller self-test, such as the one
    /// that precedes another experiment.
    pub(crate) fn idle_milliseconds(&self) -> u64 {
        if self.bytes < FULL_BYTES { 100 } else { 1000 }
    }

    /// Attaches the counters, or returns why they are unavailable.
    pub(crate) fn attach(&self) -> Result<std::result::Result<Counters, Unavailable>> {
        let Some(path) = &self.object else {
            return Ok(Counters::attach(&Scope::default()));
        };
        let object = std::fs::read(path);
        let object = object.map_err(|error| Error::new("read", path.display(), error))?;
        Ok(Counters::attach_from(&object, &Scope::default()))
    }
}
