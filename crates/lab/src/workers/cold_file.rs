//! A file that is evicted from the page cache before each request: posix_fadvise(2) with
//! `POSIX_FADV_DONTNEED`, Linux 2.5.60, verified by cachestat(2), 6.5.
//!
//! # Limitations
//! Pages held by unfreed packets stay cached; before Linux 6.5 that cannot be verified.

use karez_sys::cached_pages;
use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::os::fd::AsFd as _;

use crate::error::{ErrorContext as _, Result};

/// Attempts to evict: received packets are freed soon.
const TRIES: u32 = 5;

pub(super) struct ColdFile {
    file: File,
    bytes: u64,
}

impl ColdFile {
    pub(super) fn open(path: &str, bytes: u64) -> Result<Self> {
        Ok(Self { file: File::open(path).context("open", path)?, bytes })
    }

    /// Evicts the file and returns whether no page is cached any more.
    pub(super) fn evict(&self) -> bool {
        (0..TRIES).any(|_| {
            let dropped = fadvise(&self.file, 0, None, Advice::DontNeed);
            dropped.is_ok() && cached_pages(self.file.as_fd(), 0..self.bytes) == Ok(0)
        })
    }
}
