//! The files of the server: a small and a large one that are cached, and one per blocking
//! connection, which the client evicts.

use serde_json::{Value, json};
use std::path::Path;
use tempfile::TempDir;

use super::plan::ClientMix;
use crate::error::{ErrorContext as _, Result};
use crate::test_file::{CacheState, TestFile};
use crate::workers::ClientKind;

/// Size of the file of fast clients.
const SMALL: u64 = 1 << 10;

/// Size of the file of slow clients: larger than a socket buffer, so that the server has to wait.
const LARGE: u64 = 4 << 20;

/// Size of the files of blocking clients.
const COLD: u64 = 256 << 10;

pub(super) struct TestSite {
    small: TestFile,
    large: TestFile,
    cold: Vec<TestFile>,
    // Dropped after the files.
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

    /// Returns an error if files cannot be evicted from the page cache.
    pub(super) fn can_be_cold(&self) -> Result<()> {
        self.cold.iter().try_for_each(|file| file.prepare(CacheState::Cold))
    }

    /// Reads the cached files into the page cache.
    pub(super) fn warm(&self) -> Result<()> {
        self.small.prepare(CacheState::Warm)?;
        self.large.prepare(CacheState::Warm)
    }

    /// Returns the description of each client.
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
