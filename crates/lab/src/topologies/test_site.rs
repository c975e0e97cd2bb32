//! The files that the server of a timed run has: a small one and a large one that are in memory, and
//! for each blocking connection one of its own, which it can drop from there.

use serde_json::{Value, json};
use std::path::Path;
use tempfile::TempDir;

use super::plan::ClientMix;
use crate::error::{ErrorContext as _, Result};
use crate::test_file::{CacheState, TestFile};
use crate::workers::ClientKind;

/// What fast connections ask for.
const SMALL: u64 = 1 << 10;

/// What slow ones do. More than the kernel keeps for a socket, so that the server has to wait.
const LARGE: u64 = 4 << 20;

/// What blocking ones do.
const COLD: u64 = 256 << 10;

pub(super) struct TestSite {
    small: TestFile,
    large: TestFile,
    cold: Vec<TestFile>,
    // Goes after the files.
    root: TempDir,
}

impl TestSite {
    pub(super) fn create(directory: &Path, cold: u32) -> Result<Self> {
        let root = tempfile::Builder::new().prefix("karez-lab-").tempdir_in(directory);
        let root = root.context("make a directory in", directory.display())?;
        let file = |bytes| TestFile::new(root.path(), bytes);
        let cold = (0..cold).map(|_| file(COLD)).collect::<Result<_>>()?;
        Ok(Self { small: file(SMALL)?, large: file(LARGE)?, cold, root })
    }

    pub(super) fn root(&self) -> &Path {
        self.root.path()
    }

    /// Whether files here can be dropped from memory.
    pub(super) fn can_be_cold(&self) -> Result<()> {
        self.cold.iter().try_for_each(|file| file.prepare(CacheState::Cold))
    }

    /// Brings what is hot into memory.
    pub(super) fn warm(&self) -> Result<()> {
        self.small.prepare(CacheState::Warm)?;
        self.large.prepare(CacheState::Warm)
    }

    /// What each connection is to ask for.
    pub(super) fn load(&self, clients: ClientMix) -> Vec<Value> {
        let all = |kind, file, count: u32| (0..count).map(move |_| load_client(kind, file, false));
        let fast = all(ClientKind::Fast, &self.small, clients.fast);
        let slow = all(ClientKind::Slow, &self.large, clients.slow);
        let cold = self.cold.iter().take(usize::try_from(clients.blocking).unwrap_or(0));
        let cold = cold.map(|file| load_client(ClientKind::Blocking, file, true));
        fast.chain(slow).chain(cold).collect()
    }
}

fn load_client(kind: ClientKind, file: &TestFile, cold: bool) -> Value {
    let name = file.path().file_name().map(|name| format!("/{}", name.display()));
    json!({
        "kind": kind.name(), "path": name, "bytes": file.bytes(),
        "file": cold.then(|| file.path()),
    })
}
