//! A number that one thread counts and others read.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number of one thread. Addition wraps, so that a gauge may go up in one shard and down in another.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    /// Adds to the number. A load and a store suffice, because one thread has the shard.
    pub(super) fn add(&self, count: u64) {
        self.set(self.get().wrapping_add(count));
    }

    /// Subtracts from the number.
    pub(super) fn sub(&self, count: u64) {
        self.set(self.get().wrapping_sub(count));
    }

    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
