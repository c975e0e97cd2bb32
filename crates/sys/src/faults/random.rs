//! Numbers from a seed, without a state that threads share.

use crate::split_mix::mix;

/// A sequence of numbers.
pub(super) struct Numbers {
    seed: u64,
    step: u64,
}

impl Numbers {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed: mix(seed, 1), step: 0 }
    }

    /// Returns a number below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.step += 1;
        mix(self.seed, self.step) % bound
    }

    /// Returns one of several values.
    pub(super) fn one_of<T: Copy>(&mut self, values: &[T]) -> Option<T> {
        let count = u64::try_from(values.len()).ok().filter(|&count| count > 0)?;
        values.get(usize::try_from(self.below(count)).ok()?).copied()
    }
}
