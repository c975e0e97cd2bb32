//! The file that the ways are tried on, and the state of its pages in the cache: made, and
//! verified. Only this file's; the machine's caches are left alone.

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
use crate::probe::FileId;

/// Memory may be short, and pages be taken away while others come.
const TRIES: u32 = 20;

/// How much longer to wait before each try.
const RETRY_DELAY: Duration = Duration::from_micros(100);

/// Where a file's bytes are before they are moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheState {
    /// All in memory.
    Warm,
    /// None in memory.
    Cold,
}

impl CacheState {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Warm, Self::Cold];

    /// The name used in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Warm => "warm",
            Self::Cold => "cold",
        }
    }
}

impl fmt::Display for CacheState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A file of the laboratory's own; it goes when this is dropped.
#[derive(Debug)]
pub struct TestFile {
    file: NamedTempFile,
    bytes: u64,
}

impl TestFile {
    /// A file of `bytes` in `directory`, written out to the disk.
    ///
    /// # Errors
    /// What the file system says.
    pub fn new(directory: &Path, bytes: u64) -> Result<Self> {
        let named = tempfile::Builder::new().prefix("karez-lab-").tempfile_in(directory);
        let mut file = named.context("make a file in", directory.display())?;
        let mut left = bytes;
        let mut block: Vec<u8> = (0..=u8::MAX).cycle().take(1 << 20).collect();
        while left > 0 {
            // No two blocks are alike, so that nothing can share them.
            block[..8].copy_from_slice(&left.to_ne_bytes());
            let count = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            file.write_all(&block[..count]).context("write", directory.display())?;
            left -= count as u64;
        }
        fdatasync(&file).context("sync", directory.display())?;
        Ok(Self { file, bytes })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Its size.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What the kernel knows it by.
    ///
    /// # Errors
    /// As fstat(2).
    pub fn id(&self) -> Result<FileId> {
        FileId::of(&self.file)
    }

    /// Brings it into this state.
    ///
    /// # Errors
    /// Where the state cannot be made: a file system in memory has no cold files.
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

    /// How many pages it has.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.bytes.div_ceil(page_size() as u64)
    }

    /// How many of them are in memory.
    ///
    /// # Errors
    /// As cachestat(2) or mincore(2).
    pub fn cached(&self) -> Result<u64> {
        let file = self.file.as_file().as_fd();
        match cached_pages(file, 0..self.bytes) {
            Err(Errno::NOSYS | Errno::PERM | Errno::OPNOTSUPP) => {
                let length = usize::try_from(self.bytes).context("map", "the file")?;
                let mapping = Mapping::of(file, 0, length).context("map", "the file")?;
                mapping.resident_pages().map(|pages| pages as u64).context("ask for", "pages")
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
