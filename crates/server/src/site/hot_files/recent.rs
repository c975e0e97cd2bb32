//! The keys of recent requests, by their hashes: a repeated request is worth watches, and a key that could
//! not be watched is not tried again for a while.
//!
//! # Limitations
//! Two keys with one slot evict each other, so of many hot keys some are inserted late. Two keys with one
//! hash are taken for one, which costs an insertion too many or too few and nothing else.

use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

/// A table of fixed size.
pub(super) struct Recent {
    slots: Box<[Option<Slot>]>,
    hasher: RandomState,
    /// The second in which attempts are counted, and their number.
    counted_from: Instant,
    attempts: u32,
}

struct Slot {
    hash: u64,
    at: Instant,
    requests: u32,
    refused: Option<Refused>,
}

/// Why a key is not in the cache of watched files.
struct Refused {
    until: Instant,
    reason: Box<str>,
}

impl Recent {
    pub(super) fn new(now: Instant) -> Self {
        let slots = std::iter::repeat_with(|| None).take(SLOTS).collect();
        Self { slots, hasher: RandomState::new(), counted_from: now, attempts: 0 }
    }

    /// Counts a request for a key that is not in the cache. Returns the reason, if it was refused.
    pub(super) fn count(&mut self, key: &[u8], now: Instant) -> Option<&str> {
        let (hash, slot) = self.slot(key);
        if let Some(slot) = slot.as_mut().filter(|slot| slot.hash == hash) {
            let again = now.saturating_duration_since(slot.at) < AGAIN;
            slot.requests = if again { slot.requests.saturating_add(1) } else { 1 };
            slot.at = now;
            slot.refused.take_if(|refused| refused.until <= now);
        } else if slot.as_ref().is_none_or(|slot| !slot.is_busy(now)) {
            *slot = Some(Slot { hash, at: now, requests: 1, refused: None });
        }
        let slot = slot.as_ref().filter(|slot| slot.hash == hash);
        slot.and_then(|slot| slot.refused.as_ref()).map(|refused| &*refused.reason)
    }

    /// Returns whether a key should be inserted.
    pub(super) fn is_due(&mut self, key: &[u8]) -> bool {
        let (hash, slot) = self.slot(key);
        slot.as_ref().is_some_and(|slot| {
            slot.hash == hash && slot.requests >= REQUESTS && slot.refused.is_none()
        })
    }

    /// Counts an insertion. Returns whether it may be made in this second.
    pub(super) fn may_attempt(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.counted_from) >= Duration::from_secs(1) {
            (self.counted_from, self.attempts) = (now, 0);
        }
        self.attempts += 1;
        self.attempts <= ATTEMPTS
    }

    /// Takes note that a key was refused.
    pub(super) fn refuse(&mut self, key: &[u8], reason: String, lasting: bool, now: Instant) {
        let (hash, slot) = self.slot(key);
        let until = now + if lasting { LASTING } else { PASSING };
        if let Some(slot) = slot.as_mut().filter(|slot| slot.hash == hash) {
            slot.refused = Some(Refused { until, reason: reason.into() });
        }
    }

    fn slot(&mut self, key: &[u8]) -> (u64, &mut Option<Slot>) {
        let hash = self.hasher.hash_one(key);
        // As many slots as a power of two.
        let index = usize::try_from(hash).unwrap_or(0) & (SLOTS - 1);
        (hash, &mut self.slots[index])
    }
}

impl Slot {
    /// Returns whether it is kept from another key: it was refused, and is still asked for.
    fn is_busy(&self, now: Instant) -> bool {
        self.refused.as_ref().is_some_and(|refused| refused.until > now)
            && now.saturating_duration_since(self.at) < AGAIN
    }
}

/// A table of 48 KiB.
const SLOTS: usize = 1024;
/// A key is inserted at this request, if it follows the one before it in this time.
const REQUESTS: u32 = 2;
const AGAIN: Duration = Duration::from_secs(5);
/// Insertions in a second, at most: each makes some 50 system calls, so changes that never end would
/// otherwise cost more than the cache saves.
const ATTEMPTS: u32 = 256;
/// How long a refusal counts: by the kind of file system or a limit, and by a state of the directory.
const LASTING: Duration = Duration::from_secs(30);
const PASSING: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_inserted_at_its_second_request() {
        let now = Instant::now();
        let mut recent = Recent::new(now);
        assert_eq!(recent.count(b"a", now), None);
        assert!(!recent.is_due(b"a"));
        recent.count(b"a", now + AGAIN);
        assert!(!recent.is_due(b"a"), "too long after the first");
        recent.count(b"a", now + AGAIN + Duration::from_secs(1));
        assert!(recent.is_due(b"a"));
    }

    #[test]
    fn a_refused_key_is_tried_again_later() {
        let now = Instant::now();
        let mut recent = Recent::new(now);
        for _ in 0..2 {
            recent.count(b"a", now);
        }
        recent.refuse(b"a", "no".to_owned(), false, now);
        assert_eq!(recent.count(b"a", now), Some("no"));
        assert!(!recent.is_due(b"a"));
        assert_eq!(recent.count(b"a", now + PASSING), None);
        assert!(recent.is_due(b"a"));
        recent.refuse(b"a", "never".to_owned(), true, now);
        assert_eq!(recent.count(b"a", now + PASSING), Some("never"));
    }

    #[test]
    fn attempts_are_bounded() {
        let now = Instant::now();
        let mut recent = Recent::new(now);
        let attempts = (0..2 * ATTEMPTS).filter(|_| recent.may_attempt(now)).count();
        assert_eq!(attempts, 256);
        assert!(recent.may_attempt(now + Duration::from_secs(1)));
    }
}
