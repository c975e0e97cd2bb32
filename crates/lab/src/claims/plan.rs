//! Which claims are to be tested, and with what.

use std::path::{Path, PathBuf};

use crate::selftest::SelfTestPlan;
use crate::workers::WorkerCommand;

/// What is to be tried.
#[derive(Clone, Debug)]
pub struct ClaimsPlan {
    /// How to start workers.
    pub workers: WorkerCommand,
    /// Where files are made: on a disk.
    pub directory: PathBuf,
    /// How many bytes are moved.
    pub bytes: u64,
    /// By pieces of how many.
    pub chunk: u32,
    /// Fewer descriptors and runs where times are needed.
    pub quick: bool,
    /// The numbers of the claims; empty for all.
    pub only: Vec<u8>,
}

impl ClaimsPlan {
    /// Every claim, by 16 MiB in pieces of 64 KiB.
    #[must_use]
    pub fn new(workers: WorkerCommand, directory: &Path) -> Self {
        let (bytes, chunk) = (16 << 20, 64 << 10);
        let directory = directory.to_owned();
        Self { workers, directory, bytes, chunk, quick: false, only: Vec::new() }
    }

    /// The same with 4 MiB, fewer descriptors and fewer runs.
    #[must_use]
    pub fn quick(self) -> Self {
        Self { bytes: 4 << 20, quick: true, ..self }
    }

    pub(super) fn self_test_plan(&self, bytes: u64) -> SelfTestPlan {
        let plan = SelfTestPlan::new(self.workers.clone(), &self.directory);
        SelfTestPlan { bytes, chunk: self.chunk, ..plan }
    }
}
