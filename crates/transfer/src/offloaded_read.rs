//! One read of a file on a [remote](crate::Device::remote) file system, made by a thread that may
//! block. pread(2); since always.
//!
//! Such a file system revalidates attributes over the network or in another process, so a read,
//! fstat(2) or fstatfs(2) may block although the pages are in the page cache, and `RWF_NOWAIT` is
//! refused (FUSE). The step therefore makes no call on the file at all: the worker reads into
//! memory, and the step sends from there.
//!
//! # Limitations
//!
//! Two context switches and a copy for each chunk, even if the page cache has it.

use rustix::io;
use std::fmt;
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::interrupted::retry;

/// One read, shared by the transfer and the worker.
pub(crate) struct OffloadedRead {
    at: u64,
    count: usize,
    result: Mutex<Option<OffloadedResult>>,
}

/// The result of a read.
pub(crate) struct OffloadedResult {
    pub(crate) bytes: io::Result<Vec<u8>>,
    /// The calls of pread(2) that it took.
    pub(crate) calls: u64,
}

impl OffloadedRead {
    pub(crate) fn new(at: u64, count: usize) -> Self {
        Self { at, count, result: Mutex::new(None) }
    }

    /// Reads; may block for as long as the file system takes.
    pub(crate) fn execute(&self, file: impl AsFd) {
        let mut bytes = vec![0; self.count];
        let mut calls = 0;
        let read = retry(|| {
            calls += 1;
            io::pread(&file, &mut bytes[..], self.at)
        });
        let bytes = read.map(|count| {
            bytes.truncate(count);
            bytes
        });
        *self.lock() = Some(OffloadedResult { bytes, calls });
    }

    /// Takes the result, once.
    pub(crate) fn take_result(&self) -> Option<OffloadedResult> {
        self.lock().take()
    }

    /// Returns whether the read begins at this offset.
    pub(crate) fn is_at(&self, at: u64) -> bool {
        self.at == at
    }

    /// Returns the range of the file to be read.
    pub(crate) fn range(&self) -> Range<u64> {
        self.at..self.at.saturating_add(self.count as u64)
    }

    /// Locks the result. No code that could panic runs under the lock.
    fn lock(&self) -> MutexGuard<'_, Option<OffloadedResult>> {
        self.result.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for OffloadedRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes from {}", self.count, self.at)
    }
}
