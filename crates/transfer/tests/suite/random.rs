//! Seeded random numbers: every run prints its seed, and `KAREZ_SEED` sets it.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::OnceLock;

/// `SplitMix64`.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// A new one each run, unless `KAREZ_SEED` is set.
    pub fn fresh() -> Self {
        let given = std::env::var("KAREZ_SEED").ok().map(|seed| seed.parse().unwrap());
        let seed = given.unwrap_or_else(|| RandomState::new().hash_one(0) >> 1);
        println!("to have it again: KAREZ_SEED={seed}");
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 1 to `most`, the small ones as often as the large ones.
    pub fn amount(&mut self, most: usize) -> usize {
        let bits = self.next() % u64::from(usize::BITS - most.leading_zeros() + 1);
        1 + (self.next() & ((1 << bits) - 1)) as usize % most
    }

    pub fn one_of<T: Clone>(&mut self, all: &[T]) -> T {
        all[(self.next() % all.len() as u64) as usize].clone()
    }

    pub fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

/// Bytes of which no two parts are equal: a repeated block whose length is a prime, in which many places
/// contain the number of the repetition.
pub fn pattern(len: usize, seed: u64) -> Vec<u8> {
    static ALL: OnceLock<Vec<u8>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let mut chance = Random::of(7);
        let mut block: Vec<_> = (0..8192).flat_map(|_| chance.next().to_ne_bytes()).collect();
        block.truncate(65_521);
        let mut all = block.repeat(128);
        for place in (0..all.len() - 4).step_by(509) {
            all[place..place + 4].copy_from_slice(&(place as u32).to_ne_bytes());
        }
        all
    });
    let start = (seed as usize).wrapping_mul(40_503) % (2 << 20);
    all[start..start + len].to_vec()
}
