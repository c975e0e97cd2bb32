//! Random order of timed runs, so that drift does not favour the first.
//!
//! # Limitations
//! xorshift64 is suitable for shuffling only.

use std::time::{SystemTime, UNIX_EPOCH};

/// A pseudo-random generator, xorshift64 (Marsaglia 2003); the seed reproduces its sequence.
pub(crate) struct Rng(u64);

impl Rng {
    /// Creates a generator from a seed.
    pub(crate) fn from_seed(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// Creates a generator with a seed from the clock, and returns the seed.
    pub(crate) fn from_clock() -> (u64, Self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_nanos());
        let seed = u64::try_from(now & u128::from(u64::MAX)).unwrap_or(1) | 1;
        (seed, Self::from_seed(seed))
    }

    /// Returns a number below `count`.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % (count as u64).max(1)).unwrap_or(0)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn shuffle(&mut self, items: &mut [usize]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last + 1);
            items.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_reproduces_the_order_and_keeps_all_items() {
        let shuffled = |seed| {
            let mut items: Vec<_> = (0..100).collect();
            Rng::from_seed(seed).shuffle(&mut items);
            items
        };
        assert_eq!(shuffled(7), shuffled(7));
        assert_ne!(shuffled(7), shuffled(9));
        let mut sorted = shuffled(11);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
    }
}
