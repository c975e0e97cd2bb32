//! Parameters of the experiment.

use std::path::{Path, PathBuf};

use crate::selftest::SelfTestPlan;
use crate::workers::WorkerCommand;

/// Parameters of the experiment.
#[derive(Clone, Debug)]
pub struct ClaimsPlan {
    /// How to start workers.
    pub workers: WorkerCommand,
    /// Directory of the test files, on a disk.
    pub directory: PathBuf,
    /// File size.
    pub bytes: u64,
    /// Chunk size.
    pub chunk: u32,
    /// Whether to use fewer descriptors and runs in timed experiments.
    pub quick: bool,
    /// Numbers of the selected claims; empty for all.
    pub only: Vec<u8>,
}

impl ClaimsPlan {
    /// Creates parameters for every claim, 16 MiB in chunks of 64 KiB.
    #[must_use]
    pub fn new(workers: WorkerCommand, directory: &Path) -> Self {
        let (bytes, chunk) = (16 << 20, 64 << 10);
        let directory = directory.to_owned();
        Self { workers, directory, bytes, chunk, quick: false, only: Vec::new() }
    }

    /// Reduces the size to 4 MiB, with fewer descriptors and runs.
    #[must_use]
    pub fn quick(self) -> Self {
        Self { bytes: 4 << 20, quick: true, ..self }
    }

    pub(super) fn self_test_plan(&self, bytes: u64) -> SelfTestPlan {
        let plan = SelfTestPlan::new(self.workers.clone(), &self.directory);
        SelfTestPlan { bytes, chunk: self.chunk, ..plan }
    }
}
