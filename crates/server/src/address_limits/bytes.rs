//! The rate of bytes of each address, which its connections share ([`SharedRate`]). The tables have an entry for each
//! address with an open connection, so they are bounded by the limit on connections.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use karez_reactor::{RateShare, SharedRate};

use super::key::AddressKey;

/// Parts of a table with a lock each.
const SHARDS: usize = 64;

/// A limit on the bytes per second that are sent to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRate {
    /// The rate of an address.
    pub rate: NonZeroU64,
    /// The highest rate of one of its connections.
    pub most: Option<NonZeroU64>,
}

/// The rates of all addresses with a connection.
pub(crate) struct ByteRates {
    rate: ByteRate,
    hasher: RandomState,
    shards: [Mutex<HashMap<AddressKey, SharedRate>>; SHARDS],
}

/// A connection that has a part of the rate of its address until it is dropped.
pub(crate) struct AddressShare {
    table: Arc<ByteRates>,
    key: AddressKey,
    share: Option<RateShare>,
}

impl ByteRates {
    pub(super) fn new(rate: ByteRate) -> Self {
        let shards = std::array::from_fn(|_| Mutex::default());
        Self { rate, hasher: RandomState::new(), shards }
    }

    pub(super) fn rate(&self) -> ByteRate {
        self.rate
    }

    /// Adds a connection of an address.
    pub(super) fn join(table: &Arc<Self>, key: AddressKey) -> AddressShare {
        let ByteRate { rate, most } = table.rate;
        let mut shard = table.shard(key);
        let share = shard.entry(key).or_insert_with(|| SharedRate::new(rate, most)).join();
        drop(shard);
        AddressShare { table: Arc::clone(table), key, share: Some(share) }
    }

    fn shard(&self, key: AddressKey) -> MutexGuard<'_, HashMap<AddressKey, SharedRate>> {
        let hash = self.hasher.hash_one(key);
        #[expect(clippy::cast_possible_truncation, reason = "the remainder is small")]
        let shard = &self.shards[(hash % SHARDS as u64) as usize];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AddressShare {
    pub(crate) fn share(&self) -> Option<&RateShare> {
        self.share.as_ref()
    }
}

impl Drop for AddressShare {
    fn drop(&mut self) {
        let mut shard = self.table.shard(self.key);
        drop(self.share.take());
        if shard.get(&self.key).is_some_and(SharedRate::is_unused) {
            shard.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_an_address_share_its_rate_and_the_table_ends_empty() {
        let rate = ByteRate { rate: 900u64.try_into().unwrap(), most: None };
        let table = Arc::new(ByteRates::new(rate));
        let part = |key| table.shard(key).get(&key).map(SharedRate::part);
        let (one, other) = (AddressKey::V4(1), AddressKey::V6(1));
        let mut open: Vec<_> = (0..3).map(|_| ByteRates::join(&table, one)).collect();
        let of_other = ByteRates::join(&table, other);
        assert_eq!((part(one), part(other)), (Some(300), Some(900)));
        open.pop();
        assert_eq!(part(one), Some(450));
        drop((open, of_other));
        assert_eq!((part(one), part(other)), (None, None));
    }
}
