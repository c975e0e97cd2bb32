//! A file that is dropped from the page cache before each time it is asked for: posix_fadvise(2)
//! with `POSIX_FADV_DONTNEED`, Linux 2.5.60, verified by cachestat(2), 6.5.
//!
//! What it does badly: a page of a packet that is not freed yet stays; before Linux 6.5 nobody can
//! say whether one does.

use karez_sys::cached_pages;
use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::os::fd::AsFd as _;

use crate::error::{ErrorContext as _, Result};

/// How often it is tried: what has been read is freed soon.
const TRIES: u32 = 5;

pub(super) struct ColdFile {
    file: File,
    bytes: u64,
}

impl ColdFile {
    pub(super) fn open(path: &str, bytes: u64) -> Result<Self> {
        Ok(Self { file: File::open(path).context("open", path)?, bytes })
    }

    /// Drops what is cached; whether it was seen to be gone.
    pub(super) fn evict(&self) -> bool {
        (0..TRIES).any(|_| {
            let dropped = fadvise(&self.file, 0, None, Advice::DontNeed);
            dropped.is_ok() && cached_pages(self.file.as_fd(), 0..self.bytes) == Ok(0)
        })
    }
}
