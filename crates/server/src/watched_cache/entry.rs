//! An entry of the cache: a value, its last use and its last verification.

use std::sync::Arc;
use std::time::{Duration, Instant};

/// A value, and when it was last verified.
#[derive(Debug)]
pub(crate) struct Entry<V> {
    pub(super) key: Arc<[u8]>,
    value: V,
    pub(super) verified_at: Instant,
    pub(super) used_at: Instant,
}

impl<V> Entry<V> {
    pub(super) fn new(key: Arc<[u8]>, value: V, now: Instant) -> Self {
        Self { key, value, verified_at: now, used_at: now }
    }

    /// Returns the value.
    pub(crate) fn value(&self) -> &V {
        &self.value
    }

    /// Returns the value, to be replaced in part.
    pub(crate) fn value_mut(&mut self) -> &mut V {
        &mut self.value
    }

    /// Returns whether the last verification is a second ago, so that the caller compares the
    /// identity of the file with one statx(2) of the path: some writers raise no event.
    pub(crate) fn needs_verification(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.verified_at) >= VERIFIED_FOR
    }

    /// Takes note of a use, see [`WatchedCache::drop_idle`](super::WatchedCache::drop_idle).
    pub(crate) fn set_used(&mut self, now: Instant) {
        self.used_at = now;
    }

    /// Takes note of a verification.
    pub(crate) fn set_verified(&mut self, now: Instant) {
        self.verified_at = now;
    }
}

/// How long a verification counts.
const VERIFIED_FOR: Duration = Duration::from_secs(1);
