//! The memory of all listings together, and its limit: a listing reserves what it is about to use, and gives it
//! back when it ends. The pages that it has used return to the kernel then, since they are mappings of their own.
//!
//! # Limitations
//!
//! Transient buffers of a step (about 10 KiB) are not counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The limit unless another is set, in bytes.
pub(crate) const DEFAULT_LIMIT: u64 = 64 << 20;

/// The memory of all listings of a server. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct ListingMemory {
    used: Arc<AtomicU64>,
    limit: u64,
}

/// A part of it, in use by one listing.
#[derive(Debug)]
pub(super) struct Reservation {
    memory: ListingMemory,
    bytes: u64,
}

/// Why a listing gets no more memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemoryRefusal {
    /// Other listings use the rest of it.
    InUse,
    /// The listing alone exceeds the limit.
    TooLarge,
}

impl ListingMemory {
    /// Returns the same memory with another limit, in bytes. Listings that have begun are counted in it, too.
    pub(crate) fn with_limit(&self, limit: u64) -> Self {
        Self { used: Arc::clone(&self.used), limit }
    }

    /// Returns a part of it, of no bytes.
    pub(super) fn begin(&self) -> Reservation {
        Reservation { memory: self.clone(), bytes: 0 }
    }

    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

impl Default for ListingMemory {
    fn default() -> Self {
        Self { used: Arc::default(), limit: DEFAULT_LIMIT }
    }
}

impl Reservation {
    /// Adds so many bytes to it. A refusal gives all of it back in the same step, for memory that is to be freed at
    /// once: so of several listings that compete for the rest, the last one gets it.
    pub(super) fn grow(&mut self, bytes: u64) -> Result<(), MemoryRefusal> {
        let (own, limit) = (self.bytes, self.memory.limit);
        if own.saturating_add(bytes) > limit {
            self.release();
            return Err(MemoryRefusal::TooLarge);
        }
        let mut fits = false;
        let change = |used: u64| {
            let sum = used.checked_add(bytes).filter(|&sum| sum <= limit);
            fits = sum.is_some();
            Some(sum.unwrap_or(used - own))
        };
        let _changed = self.memory.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
        self.bytes = if fits { own + bytes } else { 0 };
        if fits { Ok(()) } else { Err(MemoryRefusal::InUse) }
    }

    /// Returns whether it has no bytes yet.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Gives all of it back.
    pub(super) fn release(&mut self) {
        self.memory.used.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = 0;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_reservations_together_stay_below_the_limit() {
        let memory = ListingMemory::default().with_limit(100);
        let (mut one, mut other) = (memory.begin(), memory.begin());
        assert!(one.is_empty());
        assert_eq!((one.grow(60), other.grow(40)), (Ok(()), Ok(())));
        assert_eq!((other.grow(1), memory.used()), (Err(MemoryRefusal::InUse), 60));
        assert!(other.is_empty() && !one.is_empty(), "it has given its bytes back");
        assert_eq!((one.grow(40), memory.used()), (Ok(()), 100));
        assert_eq!(other.grow(u64::MAX), Err(MemoryRefusal::TooLarge));
        assert_eq!((one.grow(1), memory.used()), (Err(MemoryRefusal::TooLarge), 0));
        assert_eq!((other.grow(100), memory.used()), (Ok(()), 100));
        other.release();
        assert_eq!(memory.used(), 0);
        drop((one, other));
        assert_eq!(memory.used(), 0);
    }

    /// Each refused one frees its part before another can be refused because of it.
    #[test]
    fn one_of_those_that_compete_gets_the_memory() {
        let memory = ListingMemory::default().with_limit(100);
        let grow = || {
            let mut own = memory.begin();
            (0..60).all(|_| own.grow(1).is_ok()).then_some(own)
        };
        for _ in 0..100 {
            let kept: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(grow)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(kept.iter().flatten().count(), 1);
        }
    }

    #[test]
    fn a_new_limit_counts_the_listings_that_have_begun() {
        let memory = ListingMemory::default().with_limit(100);
        let mut before = memory.begin();
        assert_eq!(before.grow(80), Ok(()));
        let memory = memory.with_limit(50);
        let mut after = memory.begin();
        assert_eq!(after.grow(1), Err(MemoryRefusal::InUse));
        drop(before);
        assert_eq!(after.grow(50), Ok(()));
    }
}
