//! A read past the page cache (`O_DIRECT`, open(2)) that a step may not wait for, so that somebody
//! else makes it: a worker, or the kernel for a model that is told of its end (`IOCB_CMD_PREAD`).
//!
//! The transfer and who reads share the errand. Its memory is in one place at a time: with who reads,
//! with the errand, and last with the transfer. A reader that never comes back has taken it along,
//! and then the transfer waits for ever: whoever lends gives back.

use rustix::io;
use std::fmt;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::aligned::Aligned;
use crate::interrupted::retry;
use crate::via::direct::{Filled, Opened};

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

pub(crate) struct Errand {
    from: Arc<Opened>,
    at: u64,
    count: usize,
    state: Mutex<State>,
}

enum State {
    Asked,
    /// Somebody reads.
    Lent,
    Brought(Brought),
}

/// What came of it.
pub(crate) struct Brought {
    pub(crate) outcome: io::Result<Filled>,
    /// By pread(2), and not by who was lent the read.
    pub(crate) by_call: bool,
}

impl Errand {
    /// Will bring `count` bytes of a file, from the offset `at`.
    pub(crate) fn new(from: Arc<Opened>, at: u64, count: usize) -> Arc<Self> {
        Arc::new(Self { from, at, count, state: Mutex::new(State::Asked) })
    }

    /// Reads, unless somebody does so already. The next step takes what came of it, an error, too.
    pub(crate) fn run(&self) {
        if let Some(mut read) = self.lend() {
            let memory = &mut read.memory[read.range.clone()];
            let outcome = retry(|| io::pread(&read.file, &mut *memory, read.offset));
            self.take_back(read, Some(outcome), true);
        }
    }

    /// The read, unless somebody makes it already.
    pub(crate) fn lend(&self) -> Option<DirectRead> {
        let mut state = self.lock();
        let State::Asked = *state else { return None };
        *state = State::Lent;
        drop(state);
        let blocks = self.from.blocks(self.at, self.count);
        let (memory, start) = Aligned::take(blocks.length, self.from.alignment).into_parts();
        let range = start..start + blocks.length;
        Some(DirectRead { file: Arc::clone(&self.from.file), offset: blocks.offset, memory, range })
    }

    /// The memory is back: with what was read, or, with `None`, as it went.
    pub(crate) fn give_back(&self, read: DirectRead, outcome: Option<io::Result<usize>>) {
        self.take_back(read, outcome, false);
    }

    fn take_back(&self, read: DirectRead, outcome: Option<io::Result<usize>>, by_call: bool) {
        let buffer = Aligned::from_parts(read.memory, read.range.start, self.from.alignment);
        let blocks = self.from.blocks(self.at, self.count);
        let filled = outcome.map(|read| Ok((buffer, blocks.asked_for(read?, self.count))));
        let brought = filled.map(|outcome| Brought { outcome, by_call });
        *self.lock() = brought.map_or(State::Asked, State::Brought);
    }

    /// What was read, once.
    pub(crate) fn brought(&self) -> Option<Brought> {
        let mut state = self.lock();
        match std::mem::replace(&mut *state, State::Asked) {
            State::Brought(brought) => Some(brought),
            other => {
                *state = other;
                None
            }
        }
    }

    /// Whether it brings what lies at this offset.
    pub(crate) fn is_at(&self, at: u64) -> bool {
        self.at == at
    }

    /// What it is to bring.
    pub(crate) fn range(&self) -> Range<u64> {
        self.at..self.at.saturating_add(self.count as u64)
    }

    /// No code that could panic runs under the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Errand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes from {}", self.count, self.at)
    }
}

impl fmt::Debug for DirectRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes from {}", self.range.len(), self.offset)
    }
}
