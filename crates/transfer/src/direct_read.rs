//! An `O_DIRECT` read (open(2)) that a step must not block on: a worker thread makes it, or the kernel
//! for a model that completes reads (`IOCB_CMD_PREAD`).
//!
//! The transfer and the reader share the request. The buffer has one owner at a time: the reader, then
//! the request, then the transfer.
//!
//! # Limitations
//!
//! If the reader drops the buffer instead of returning it, the transfer never completes.

use rustix::io;
use std::fmt;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::aligned::Aligned;
use crate::direct_file::{DirectFile, Filled};
use crate::interrupted::retry;

/// Describes a read to be made.
#[doc(hidden)]
pub struct DirectRead {
    /// The file, open with `O_DIRECT`.
    pub file: Arc<OwnedFd>,
    /// The offset in the file.
    pub offset: u64,
    /// The buffer.
    pub memory: Vec<u8>,
    /// The part of the buffer to read into, aligned as the disk requires.
    pub range: Range<usize>,
}

/// A read request, shared by the transfer and the reader.
pub(crate) struct ReadRequest {
    from: Arc<DirectFile>,
    at: u64,
    count: usize,
    state: Mutex<State>,
}

enum State {
    Pending,
    /// A reader has the buffer.
    CheckedOut,
    Complete(ReadResult),
}

/// The result of a request.
pub(crate) struct ReadResult {
    pub(crate) outcome: io::Result<Filled>,
    /// The calls of pread(2) that it took; 0 if the kernel completed the read asynchronously.
    pub(crate) calls: u64,
}

impl ReadRequest {
    /// Describes a read of `count` bytes of a file at the offset `at`.
    pub(crate) fn new(from: Arc<DirectFile>, at: u64, count: usize) -> Arc<Self> {
        Arc::new(Self { from, at, count, state: Mutex::new(State::Pending) })
    }

    /// Reads, unless another reader already does. The next step takes the result, an error included.
    pub(crate) fn execute(&self) {
        if let Some(mut read) = self.checkout() {
            let memory = &mut read.memory[read.range.clone()];
            let mut calls = 0;
            let outcome = retry(|| {
                calls += 1;
                io::pread(&read.file, &mut *memory, read.offset)
            });
            self.complete(read, Some(outcome), calls);
        }
    }

    /// Takes the read, unless another reader already has it.
    pub(crate) fn checkout(&self) -> Option<DirectRead> {
        let mut state = self.lock();
        let State::Pending = *state else { return None };
        *state = State::CheckedOut;
        drop(state);
        let blocks = self.from.blocks(self.at, self.count);
        let (memory, start) = Aligned::take(blocks.length, self.from.alignment).into_parts();
        let range = start..start + blocks.length;
        Some(DirectRead { file: Arc::clone(&self.from.file), offset: blocks.offset, memory, range })
    }

    /// Returns the buffer after `calls` calls; with `None` as outcome the read was not made.
    pub(crate) fn complete(
        &self,
        read: DirectRead,
        outcome: Option<io::Result<usize>>,
        calls: u64,
    ) {
        let buffer = Aligned::from_parts(read.memory, read.range.start, self.from.alignment);
        let blocks = self.from.blocks(self.at, self.count);
        let filled = outcome.map(|read| Ok((buffer, blocks.wanted(read?, self.count))));
        let result = filled.map(|outcome| ReadResult { outcome, calls });
        *self.lock() = result.map_or(State::Pending, State::Complete);
    }

    /// Takes the result, once.
    pub(crate) fn take_result(&self) -> Option<ReadResult> {
        let mut state = self.lock();
        match std::mem::replace(&mut *state, State::Pending) {
            State::Complete(result) => Some(result),
            other => {
                *state = other;
                None
            }
        }
    }

    /// Returns whether the request begins at this offset.
    pub(crate) fn is_at(&self, at: u64) -> bool {
        self.at == at
    }

    /// Returns the range of the file to be read.
    pub(crate) fn range(&self) -> Range<u64> {
        self.at..self.at.saturating_add(self.count as u64)
    }

    /// Locks the state. No code that could panic runs under the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ReadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes from {}", self.count, self.at)
    }
}

impl fmt::Debug for DirectRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes from {}", self.range.len(), self.offset)
    }
}
