//! What a self-test is to do.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::probe::{Counters, Scope, Unavailable};
use crate::workers::WorkerCommand;

/// How a self-test is to be made.
#[derive(Clone, Debug)]
pub struct SelfTestPlan {
    /// How to start workers.
    pub workers: WorkerCommand,
    /// Where its files are made; a file system on a disk, for one in memory has no cold files.
    pub directory: PathBuf,
    /// How many bytes are moved by most checks.
    pub bytes: u64,
    /// By pieces of how many.
    pub chunk: u32,
    /// Another object to count with than the one built in.
    pub object: Option<PathBuf>,
}

impl SelfTestPlan {
    /// 64 MiB by 64 KiB.
    #[must_use]
    pub fn new(workers: WorkerCommand, directory: &Path) -> Self {
        let (bytes, chunk) = (64 << 20, 64 << 10);
        Self { workers, directory: directory.to_owned(), bytes, chunk, object: None }
    }

    /// The same with 8 MiB.
    #[must_use]
    pub fn quick(self) -> Self {
        Self { bytes: 8 << 20, ..self }
    }

    /// The same with counters, or reason there are none.
    pub(crate) fn attach(&self) -> Result<std::result::Result<Counters, Unavailable>> {
        let Some(path) = &self.object else {
            return Ok(Counters::attach(&Scope::default()));
        };
        let object = std::fs::read(path);
        let object = object.map_err(|error| Error::new("read", path.display(), error))?;
        Ok(Counters::attach_from(&object, &Scope::default()))
    }
}
