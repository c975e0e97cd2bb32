//! Reads of a file on a [remote](crate::Device::remote) file system, all of them made by a thread
//! that may block. pread(2); since always.
//!
//! Such a file system revalidates attributes over the network or by another process, so a read,
//! fstat(2) or fstatfs(2) may block although the pages are in the page cache, and `RWF_NOWAIT` is
//! refused (FUSE). The step therefore makes no call on the file at all: the worker reads into
//! memory, and the step sends that.
//!
//! # Limitations
//!
//! Two switches of threads and a copy for each chunk, also where the page cache has it.

use rustix::io::{self, Errno, retry_on_intr};
use std::fmt;
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ends;
use crate::report::Calls;
use crate::step::{Piece, Stop};

/// The most bytes of one read.
pub(crate) const CHUNK: u64 = 128 << 10;

/// The engine: sends what a worker has read, and asks for the next read.
#[derive(Debug, Default)]
pub(crate) struct OffloadedReads {
    filled: Option<(Vec<u8>, Range<usize>)>,
    read: Option<Arc<OffloadedRead>>,
}

/// One read, shared by the transfer and the worker.
pub(crate) struct OffloadedRead {
    at: u64,
    count: usize,
    result: Mutex<Option<io::Result<Vec<u8>>>>,
}

impl OffloadedReads {
    /// Moves what has been read; 0 means that the file ends there.
    pub(crate) fn step(&mut self, piece: Piece<'_>, calls: &mut Calls) -> Result<u64, Stop> {
        let (bytes, mut unsent) = match self.filled.take() {
            Some(filled) => filled,
            None => self.take_read(piece, calls)?,
        };
        if unsent.is_empty() {
            return Ok(0);
        }
        let moved = ends::write(piece, &bytes[unsent.clone()], calls);
        unsent.start += moved.unwrap_or(0);
        if !unsent.is_empty() {
            self.filled = Some((bytes, unsent));
        }
        moved.map(|moved| moved as u64)
    }

    /// The read that the last step asked for.
    pub(crate) fn read(&self) -> Option<Arc<OffloadedRead>> {
        self.read.clone()
    }

    fn take_read(
        &mut self,
        piece: Piece<'_>,
        calls: &mut Calls,
    ) -> Result<(Vec<u8>, Range<usize>), Stop> {
        let at = piece.from.at.ok_or(Errno::OPNOTSUPP)?;
        let read = self.read.take().filter(|read| read.at == at);
        if let Some(result) = read.as_ref().and_then(|read| read.lock().take()) {
            calls.pread64 += 1;
            let bytes = result?;
            let unsent = 0..bytes.len();
            return Ok((bytes, unsent));
        }
        let read = read.unwrap_or_else(|| Arc::new(OffloadedRead::new(at, piece.count())));
        if !piece.tells {
            // The caller says that here it may block.
            read.run(piece.from.fd);
            self.read = Some(read);
            return self.take_read(piece, calls);
        }
        self.read = Some(read);
        Err(Stop::Worker)
    }
}

impl OffloadedRead {
    fn new(at: u64, count: usize) -> Self {
        Self { at, count, result: Mutex::new(None) }
    }

    /// Reads; may block for as long as the file system likes.
    pub(crate) fn run(&self, file: impl AsFd) {
        let mut bytes = vec![0; self.count];
        let read = retry_on_intr(|| io::pread(&file, &mut bytes[..], self.at));
        let result = read.map(|count| {
            bytes.truncate(count);
            bytes
        });
        *self.lock() = Some(result);
    }

    pub(crate) fn range(&self) -> Range<u64> {
        self.at..self.at.saturating_add(self.count as u64)
    }

    /// No code that could panic runs under the lock.
    fn lock(&self) -> MutexGuard<'_, Option<io::Result<Vec<u8>>>> {
        self.result.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for OffloadedRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes from {}", self.count, self.at)
    }
}
