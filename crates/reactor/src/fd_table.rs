//! A table by descriptor number, for models whose reports carry nothing else.
//!
//! The kernel gives out the lowest free number, so the table is about as long as there are
//! descriptors.

use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Maps descriptors to `T`.
#[derive(Debug)]
pub(crate) struct FdTable<T> {
    entries: Vec<Option<T>>,
}

impl<T: Copy> FdTable<T> {
    pub(crate) fn new() -> Self {
        Self { entries: Vec::new() }
    }

    pub(crate) fn get(&self, number: usize) -> Option<T> {
        self.entries.get(number).copied().flatten()
    }

    pub(crate) fn set(&mut self, number: usize, entry: T) {
        if self.entries.len() <= number {
            self.entries.resize(number + 1, None);
        }
        self.entries[number] = Some(entry);
    }

    pub(crate) fn take(&mut self, number: usize) -> Option<T> {
        self.entries.get_mut(number)?.take()
    }

    /// Returns all entries, by ascending number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = T> {
        self.entries.iter().copied().flatten()
    }
}

/// Returns the descriptor's number, as an index.
pub(crate) fn number(fd: BorrowedFd<'_>) -> usize {
    fd.as_raw_fd().unsigned_abs() as usize
}
