//! The number of open connections of each address. The tables have an entry for each address with an open
//! connection, so they are bounded by the limit on connections.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::key::AddressKey;

/// Parts of a table with a lock each.
const SHARDS: usize = 64;

/// How many times the limit an address may have before its connections are closed without a response.
const CLOSED_ABOVE: u32 = 2;

/// The open connections of all addresses.
#[derive(Debug)]
pub(crate) struct Connections {
    hasher: RandomState,
    shards: [Mutex<HashMap<AddressKey, u32>>; SHARDS],
}

impl Default for Connections {
    fn default() -> Self {
        Self { hasher: RandomState::new(), shards: std::array::from_fn(|_| Mutex::default()) }
    }
}

/// A connection that is counted until it is dropped.
#[derive(Debug)]
pub(crate) struct CountedConnection {
    table: Arc<Connections>,
    key: AddressKey,
    pub(crate) verdict: Verdict,
}

/// Whether a connection is within the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Within,
    /// Its requests are answered by 429.
    Above,
    /// It is closed at once: the address has so many already that a response to each would help it.
    FarAbove,
}

impl Connections {
    /// Adds a connection of an address.
    pub(super) fn add(table: &Arc<Self>, key: AddressKey, limit: NonZeroU32) -> CountedConnection {
        let mut shard = table.shard(key);
        let count = shard.entry(key).or_default();
        *count = count.saturating_add(1);
        let verdict = match *count {
            count if count <= limit.get() => Verdict::Within,
            count if count <= limit.get().saturating_mul(CLOSED_ABOVE) => Verdict::Above,
            _ => Verdict::FarAbove,
        };
        drop(shard);
        CountedConnection { table: Arc::clone(table), key, verdict }
    }

    fn shard(&self, key: AddressKey) -> MutexGuard<'_, HashMap<AddressKey, u32>> {
        let hash = self.hasher.hash_one(key);
        // The remainder is less than the number of shards.
        #[expect(clippy::cast_possible_truncation, reason = "the remainder is small")]
        let shard = &self.shards[(hash % SHARDS as u64) as usize];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        let mut shard = self.table.shard(self.key);
        if let Entry::Occupied(mut entry) = shard.entry(self.key) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_until_they_are_dropped() {
        let table = Arc::new(Connections::default());
        let limit = NonZeroU32::new(2).unwrap();
        let add = |address| Connections::add(&table, AddressKey::V4(address), limit);
        let mut open: Vec<_> = (0..5).map(|_| add(1)).collect();
        let verdicts: Vec<_> = open.iter().map(|counted| counted.verdict).collect();
        use Verdict::{Above, FarAbove, Within};
        assert_eq!(verdicts, [Within, Within, Above, Above, FarAbove]);
        assert_eq!(add(2).verdict, Within);
        open.truncate(1);
        assert_eq!(add(1).verdict, Within);
        drop(open);
        assert!(table.shards.iter().all(|shard| shard.lock().unwrap().is_empty()));
    }
}
