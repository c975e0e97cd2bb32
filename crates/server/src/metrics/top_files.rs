//! The most requested targets of a thread, in bounded memory: the space-saving sketch (Metwally, Agrawal and El Abbadi,
//! 2005). A target that is not among the entries takes the place of the least one, and its count with it.
//!
//! # Limitations
//!
//! Targets beyond the first [`KEPT`] bytes are cut, and so are told apart no more. Counts fade by half in each minute.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

/// Entries of a thread: each target with more than this share of the requests is among them.
const ENTRIES: usize = 128;
/// The bytes of a target that are kept.
const KEPT: usize = 200;

/// The most requested targets.
#[derive(Default)]
pub(super) struct TopFiles {
    entries: Vec<Entry>,
    hasher: RandomState,
    total: u64,
}

struct Entry {
    hash: u64,
    target: Vec<u8>,
    count: u64,
}

impl TopFiles {
    /// Counts so many requests for a target.
    pub(super) fn count(&mut self, target: &[u8], count: u64) {
        let path = target.split(|byte| *byte == b'?').next().unwrap_or(target);
        let path = path.get(..KEPT).unwrap_or(path);
        let hash = self.hasher.hash_one(path);
        self.total += count;
        let known = |entry: &&mut Entry| entry.hash == hash && entry.target == path;
        if let Some(entry) = self.entries.iter_mut().find(known) {
            entry.count += count;
        } else if self.entries.len() < ENTRIES {
            self.entries.push(Entry { hash, target: path.to_vec(), count });
        } else if let Some(least) = self.entries.iter_mut().min_by_key(|entry| entry.count) {
            least.count += count;
            least.hash = hash;
            least.target.clear();
            least.target.extend_from_slice(path);
        }
    }

    /// Halves all counts.
    pub(super) fn fade(&mut self) {
        self.total /= 2;
        self.entries.iter_mut().for_each(|entry| entry.count /= 2);
        self.entries.retain(|entry| entry.count > 0);
    }

    /// Adds the counts to those of other threads. Returns the count of all targets.
    pub(super) fn add_to(&self, counts: &mut HashMap<Vec<u8>, u64>) -> u64 {
        for entry in &self.entries {
            *counts.entry(entry.target.clone()).or_default() += entry.count;
        }
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(top: &TopFiles) -> HashMap<Vec<u8>, u64> {
        let mut counts = HashMap::new();
        top.add_to(&mut counts);
        counts
    }

    #[test]
    fn frequent_targets_survive_a_flood_of_others_in_bounded_memory() {
        let mut top = TopFiles::default();
        for number in 0..100_000 {
            top.count(format!("/rare/{number}").as_bytes(), 1);
            if number % 10 == 0 {
                top.count(b"/frequent?query", 1);
            }
        }
        let counts = counts(&top);
        assert_eq!((counts.len(), top.total), (ENTRIES, 110_000));
        let frequent = counts[&b"/frequent"[..]];
        // Never less than the real count, and more by the least count at most.
        assert!((10_000..=10_000 + 110_000 / ENTRIES as u64).contains(&frequent), "{frequent}");
    }

    #[test]
    fn counts_fade() {
        let mut top = TopFiles::default();
        top.count(b"/a", 8);
        top.count(b"/b", 1);
        top.fade();
        assert_eq!((counts(&top), top.total), (HashMap::from([(b"/a".to_vec(), 4)]), 4));
    }

    #[test]
    fn long_targets_are_cut() {
        let mut top = TopFiles::default();
        top.count(&[b'x'; 9000], 1);
        assert_eq!(counts(&top)[&vec![b'x'; KEPT]], 1);
    }
}
