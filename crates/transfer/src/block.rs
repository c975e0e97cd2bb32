//! A read past the page cache (`O_DIRECT`) that somebody else makes: a worker, or the kernel for a
//! model that is told of its end.
//!
//! The transfer and who reads share a block. The memory is in one place at a time: with the block
//! until somebody takes the read on, with the reader, with the block again, and last with the
//! transfer. A reader that never comes back has taken it along; then it is asked for anew.

use rustix::io;
use std::fmt;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::aligned::Aligned;

/// A read that is to be made.
pub struct DirectRead {
    /// The file, open with `O_DIRECT`.
    pub file: Arc<OwnedFd>,
    /// Where in it.
    pub offset: u64,
    /// Where to.
    pub memory: Vec<u8>,
    /// Which part of the memory, aligned as the disk wants it.
    pub range: Range<usize>,
}

pub(crate) struct Block {
    file: Arc<OwnedFd>,
    offset: u64,
    length: usize,
    state: Mutex<State>,
}

enum State {
    Asked(Aligned),
    /// Somebody reads.
    Lent,
    Read(Aligned, io::Result<usize>),
}

impl Block {
    /// Will be `length` bytes of `file` from `offset`, both aligned.
    pub(crate) fn new(file: Arc<OwnedFd>, offset: u64, length: usize) -> Arc<Self> {
        let state = Mutex::new(State::Asked(Aligned::take(length)));
        Arc::new(Self { file, offset, length, state })
    }

    /// The read, unless somebody makes it already.
    pub(crate) fn lend(&self) -> Option<DirectRead> {
        let mut state = self.lock();
        let State::Asked(_) = &*state else { return None };
        let State::Asked(aligned) = std::mem::replace(&mut *state, State::Lent) else {
            return None;
        };
        let (memory, start) = aligned.into_parts();
        let range = start..start + self.length;
        Some(DirectRead { file: Arc::clone(&self.file), offset: self.offset, memory, range })
    }

    /// The memory is back: with what was read, or, with `None`, as it went.
    pub(crate) fn give_back(&self, read: DirectRead, outcome: Option<io::Result<usize>>) {
        let aligned = Aligned::from_parts(read.memory, read.range.start);
        *self.lock() = match outcome {
            Some(outcome) => State::Read(aligned, outcome),
            None => State::Asked(aligned),
        };
    }

    /// What was read, once.
    pub(crate) fn take(&self) -> Option<(Aligned, io::Result<usize>)> {
        let mut state = self.lock();
        match std::mem::replace(&mut *state, State::Lent) {
            State::Read(aligned, outcome) => Some((aligned, outcome)),
            other => {
                *state = other;
                None
            }
        }
    }

    /// Whether this is the block at that place.
    pub(crate) fn is_at(&self, offset: u64, length: usize) -> bool {
        self.offset == offset && self.length == length
    }

    /// No code that could panic runs under the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes from {}", self.length, self.offset)
    }
}

impl fmt::Debug for DirectRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes from {}", self.range.len(), self.offset)
    }
}
