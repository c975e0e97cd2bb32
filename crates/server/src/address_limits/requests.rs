//! The rate of requests of each address: a token bucket, kept as the time at which it is full again (GCRA).
//!
//! The table has a fixed number of entries, of which an address may have one of eight, chosen by a keyed hash.
//! A new address takes the entry of the bucket that is full, or will be soonest.
//!
//! # Limitations
//!
//! With more than about 50,000 addresses that are near their limit at a time, some get more than it.

use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::key::AddressKey;

/// Entries: 1.5 MiB in all.
const SETS: usize = 8192;
const WAYS: usize = 8;

/// A rate of requests, such as `20` or `20/s`, `100/m`, `1000/h`: so many may come at once, and then as many
/// in each such time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRate {
    count: NonZeroU32,
    per: Duration,
}

impl FromStr for RequestRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (count, unit) = text.split_once('/').unwrap_or((text, "s"));
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return Err("expected N, N/s, N/m or N/h".to_owned()),
        };
        let count: NonZeroU32 =
            count.parse().map_err(|_| "expected N, N/s, N/m or N/h".to_owned())?;
        if count.get() > MOST {
            return Err(format!("the maximum is {MOST}"));
        }
        Ok(Self { count, per: Duration::from_secs(seconds) })
    }
}

/// The buckets of all addresses.
pub(crate) struct RequestRates {
    rate: RequestRate,
    hasher: RandomState,
    start: Instant,
    sets: Box<[Mutex<[Bucket; WAYS]>]>,
}

#[derive(Clone, Copy, Default)]
struct Bucket {
    key: Option<AddressKey>,
    /// Nanoseconds since the start of the table.
    full_at: u64,
}

impl RequestRates {
    pub(super) fn new(rate: RequestRate) -> Self {
        let sets = (0..SETS).map(|_| Mutex::default()).collect();
        Self { rate, hasher: RandomState::new(), start: Instant::now(), sets }
    }

    pub(super) fn rate(&self) -> RequestRate {
        self.rate
    }

    /// Takes a token of an address.
    ///
    /// # Errors
    /// The time until there is one.
    pub(crate) fn take(&self, key: AddressKey, now: Instant) -> Result<(), Duration> {
        let now = nanoseconds(now.saturating_duration_since(self.start));
        let per = nanoseconds(self.rate.per);
        let interval = per / u64::from(self.rate.count.get());
        #[expect(clippy::cast_possible_truncation, reason = "the remainder is small")]
        let set = &self.sets[(self.hasher.hash_one(key) % SETS as u64) as usize];
        let mut set = set.lock().unwrap_or_else(PoisonError::into_inner);
        let own = set.iter().position(|bucket| bucket.key == Some(key));
        let soonest = || (0..WAYS).min_by_key(|way| set[*way].full_at).unwrap_or(0);
        let way = own.unwrap_or_else(soonest);
        let full_at = if own.is_some() { set[way].full_at.max(now) } else { now };
        // Rounding down the interval must not make the last token of the burst unavailable.
        let burst = interval * u64::from(self.rate.count.get());
        let next = full_at + interval;
        if let Some(missing) = next.checked_sub(now + burst).filter(|missing| *missing > 0) {
            return Err(Duration::from_nanos(missing));
        }
        set[way] = Bucket { key: Some(key), full_at: next };
        Ok(())
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 2)
}

/// The highest count of a rate.
const MOST: u32 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rates(text: &str) -> RequestRates {
        RequestRates::new(text.parse().unwrap())
    }

    #[test]
    fn a_bucket_fills_at_its_rate() {
        let rates = rates("3/m");
        let (key, other) = (AddressKey::V4(1), AddressKey::V6(1));
        let at = |seconds| rates.start + Duration::from_secs(seconds);
        for _ in 0..3 {
            assert_eq!(rates.take(key, at(100)), Ok(()));
        }
        assert_eq!(rates.take(key, at(100)), Err(Duration::from_secs(20)));
        assert_eq!(rates.take(key, at(115)), Err(Duration::from_secs(5)));
        assert_eq!(rates.take(other, at(115)), Ok(()));
        assert_eq!(rates.take(key, at(120)), Ok(()));
        assert_eq!(rates.take(key, at(120)), Err(Duration::from_secs(20)));
        // A long pause does not fill it beyond its size.
        for _ in 0..3 {
            assert_eq!(rates.take(key, at(10_000)), Ok(()));
        }
        assert!(rates.take(key, at(10_000)).is_err());
    }

    #[test]
    fn the_table_does_not_grow() {
        let rates = rates("1/h");
        let now = rates.start;
        for address in 0..200_000 {
            assert_eq!(rates.take(AddressKey::V4(address), now), Ok(()));
        }
        let remembered = (0..200_000).filter(|it| rates.take(AddressKey::V4(*it), now).is_err());
        assert!(remembered.count() <= SETS * WAYS);
    }

    #[test]
    fn malformed_rates_are_rejected() {
        let rate = |text: &str| text.parse::<RequestRate>();
        assert_eq!(rate("20"), rate("20/s"));
        for text in ["", "0", "-1", "1/d", "1/", "/s", "1.5", "1000001"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_more_than_the_rate_is_let_through(
            count in 1u32..50,
            pauses in proptest::collection::vec(0u64..3_000, 1..200),
        ) {
            let rates = rates(&count.to_string());
            let (mut milliseconds, mut taken) = (0, Vec::new());
            for pause in pauses {
                milliseconds += pause;
                let now = rates.start + Duration::from_millis(milliseconds);
                match rates.take(AddressKey::V4(1), now) {
                    Ok(()) => taken.push(milliseconds),
                    Err(wait) => {
                        // After exactly this time there is a token.
                        prop_assert!(!wait.is_zero() && wait <= Duration::from_secs(1));
                    }
                }
            }
            // In any second that begins with a request: the burst and the refill of the second.
            for (index, start) in taken.iter().enumerate() {
                let within = taken[index..].iter().take_while(|at| **at < start + 1_000).count();
                prop_assert!(within <= 2 * count as usize, "{within} of {count}");
            }
        }
    }
}
