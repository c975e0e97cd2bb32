//! The memory of archives: an account for each, and one for all archives of a site.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::error::ArchiveError;

/// The most memory of one archive, in bytes.
pub(super) const MOST_OF_ONE: usize = 64 << 20;
/// The most memory of all archives of a site.
pub(super) const MOST_OF_ALL: usize = 128 << 20;

/// The memory of one archive, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Memory {
    all: Arc<AtomicUsize>,
    own: usize,
}

impl Memory {
    pub(super) fn new(all: &Arc<AtomicUsize>) -> Self {
        Self { all: Arc::clone(all), own: 0 }
    }

    /// Takes some bytes more.
    ///
    /// # Errors
    /// [`ArchiveError::Full`], and then none are taken.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), ArchiveError> {
        let before = self.all.fetch_add(bytes, Ordering::Relaxed);
        if self.own + bytes > MOST_OF_ONE || before + bytes > MOST_OF_ALL {
            self.all.fetch_sub(bytes, Ordering::Relaxed);
            return Err(ArchiveError::Full);
        }
        self.own += bytes;
        Ok(())
    }

    /// Gives back all but so many bytes.
    pub(super) fn shrink(&mut self, bytes: usize) {
        let excess = self.own.saturating_sub(bytes);
        self.own -= excess;
        self.all.fetch_sub(excess, Ordering::Relaxed);
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.all.fetch_sub(self.own, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_given_back() {
        let all = Arc::default();
        let full = |memory: &mut Memory, bytes| memory.take(bytes).is_err();
        let mut archives: Vec<_> =
            (0..MOST_OF_ALL / MOST_OF_ONE).map(|_| Memory::new(&all)).collect();
        for memory in &mut archives {
            assert!(!full(memory, MOST_OF_ONE) && full(memory, 1));
        }
        let mut another = Memory::new(&all);
        assert!(full(&mut another, 1));
        archives.pop();
        assert!(!full(&mut another, MOST_OF_ONE));
        another.shrink(1);
        assert_eq!(all.load(Ordering::Relaxed), MOST_OF_ALL - MOST_OF_ONE + 1);
        drop((archives, another));
        assert_eq!(all.load(Ordering::Relaxed), 0);
    }
}
