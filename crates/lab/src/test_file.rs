//! A test file and the state of its pages in the page cache. Only pages of this file are evicted;
//! the machine's caches stay untouched.

use karez_sys::{Mapping, cached_pages, page_size};
use rustix::fs::{Advice, fadvise, fdatasync};
use rustix::io::Errno;
use std::fmt;
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::thread;
use std::time::Duration;
use tempfile::NamedTempFile;

use crate::error::{Error, ErrorContext as _, Result};
use crate::language::msg;
use crate::probe::FileId;

/// Attempts to reach a cache state: under memory pressure pages may be evicted while others are
/// read.
const TRIES: u32 = 20;

/// Additional delay before each further attempt.
const RETRY_DELAY: Duration = Duration::from_micros(100);

/// State of a file in the page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheState {
    /// All pages are cached.
    Warm,
    /// No page is cached.
    Cold,
}

impl CacheState {
    /// Both states.
    pub const ALL: [Self; 2] = [Self::Warm, Self::Cold];

    /// Returns the name used in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Warm => msg!("warm"),
            Self::Cold => msg!("cold"),
        }
    }
}

impl fmt::Display for CacheState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A temporary file of the laboratory, removed on drop.
#[derive(Debug)]
pub struct TestFile {
    file: NamedTempFile,
    bytes: u64,
}

impl TestFile {
    /// Creates a file of `bytes` in `directory` and writes it to disk.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn new(directory: &Path, bytes: u64) -> Result<Self> {
        let named = tempfile::Builder::new().prefix("karez-lab-").tempfile_in(directory);
        let mut file = named.context("make a file in", directory.display())?;
        let mut left = bytes;
        let mut block: Vec<u8> = (0..=u8::MAX).cycle().take(1 << 20).collect();
        while left > 0 {
            // No two blocks are equal, so that the file system cannot deduplicate them.
            block[..8].copy_from_slice(&left.to_ne_bytes());
            let count = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            file.write_all(&block[..count]).context("write", directory.display())?;
            left -= count as u64;
        }
        fdatasync(&file).context("sync", directory.display())?;
        Ok(Self { file, bytes })
    }

    /// Returns its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Returns its size.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns its identity in the kernel.
    ///
    /// # Errors
    /// As fstat(2).
    pub fn id(&self) -> Result<FileId> {
        FileId::of(&self.file)
    }

    /// Brings the file into this cache state.
    ///
    /// # Errors
    /// If the state cannot be reached: a file system in memory has no cold files.
    pub fn prepare(&self, state: CacheState) -> Result<()> {
        let wanted = if state == CacheState::Warm { self.pages() } else { 0 };
        let mut found = self.cached()?;
        for tried in 0..TRIES {
            if found == wanted {
                return Ok(());
            }
            thread::sleep(RETRY_DELAY * tried);
            match state {
                CacheState::Warm => self.warm()?,
                CacheState::Cold => self.evict()?,
            }
            found = self.cached()?;
        }
        if found == wanted {
            return Ok(());
        }
        let why = format!("{found} of {} pages are in memory", self.pages());
        Err(Error::new("make the file", state, why))
    }

    /// Returns its number of pages.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.bytes.div_ceil(page_size() as u64)
    }

    /// Returns the number of cached pages.
    ///
    /// # Errors
    /// As cachestat(2) or mincore(2).
    pub fn cached(&self) -> Result<u64> {
        let file = self.file.as_file().as_fd();
        match cached_pages(file, 0..self.bytes) {
            Err(Errno::NOSYS | Errno::PERM | Errno::OPNOTSUPP) => {
                let length = usize::try_from(self.bytes).context("map", "the file")?;
                let mapping = Mapping::of(file, 0, length).context("map", "the file")?;
                mapping.resident_pages().map(|pages| pages as u64).context(
                    "drop the cached pages \
                    of",
                    "pages",
                )
            }
            counted => counted.context("count", "cached pages"),
        }
    }

    fn warm(&self) -> Result<()> {
        let mut file: &File = self.file.as_file();
        let mut buffer = vec![0; 1 << 20];
        file.rewind().context("read", "the file")?;
        while file.read(&mut buffer).context("read", "the file")? > 0 {}
        Ok(())
    }

    fn evict(&self) -> Result<()> {
        fdatasync(&self.file).context("sync", "the file")?;
        fadvise(&self.file, 0, None, Advice::DontNeed).context("drop", "cached pages")
    }
}
