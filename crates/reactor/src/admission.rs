//! Admission: the number of connections over all threads, and its limit.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// The back-off of accepting when there is no place or no descriptor, unless a connection is closed
/// before.
const BACKOFF: Duration = Duration::from_millis(50);

/// At most so many idle connections whose peers still receive are passed over for a younger one.
pub(crate) const EXAMINED: usize = 64;

/// The limits of a server.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// The maximum number of concurrent connections. One more evicts the connection that has been idle
    /// longest (of the same event loop if that has any, else of another), or waits if none is idle.
    pub connections: usize,
    /// The time that a shutdown gives to connections that are not idle.
    pub grace: Duration,
}

impl Limits {
    /// Returns limits of so many connections and this grace period.
    #[must_use]
    pub fn new(connections: usize, grace: Duration) -> Self {
        Self { connections, grace }
    }
}

impl Default for Limits {
    /// 1024 connections, and a grace period of 10 s.
    fn default() -> Self {
        Self::new(1024, Duration::from_secs(10))
    }
}

/// The limits and how much of them is used.
#[derive(Debug)]
pub(crate) struct Admission {
    limits: Limits,
    live: AtomicUsize,
    /// A connection waits for a place on an event loop that has no idle connection.
    eviction_wanted: AtomicBool,
}

impl Admission {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, live: AtomicUsize::new(0), eviction_wanted: AtomicBool::new(false) }
    }

    /// Counts one more connection, if there is a place.
    pub(crate) fn enter(&self) -> bool {
        if self.live.fetch_add(1, Ordering::Relaxed) < self.limits.connections {
            return true;
        }
        self.leave();
        false
    }

    /// Returns whether there is a place.
    pub(crate) fn has_room(&self) -> bool {
        self.live.load(Ordering::Relaxed) < self.limits.connections
    }

    /// Returns whether there is a place for so many.
    #[cfg(any(feature = "uring", all(feature = "aio", target_env = "gnu")))]
    pub(crate) fn has_room_for(&self, more: usize) -> bool {
        self.live.load(Ordering::Relaxed).saturating_add(more) <= self.limits.connections
    }

    /// Returns whether there is no connection.
    pub(crate) fn has_none(&self) -> bool {
        self.live.load(Ordering::SeqCst) == 0
    }

    /// Counts one connection less.
    pub(crate) fn leave(&self) {
        self.live.fetch_sub(1, Ordering::Relaxed);
    }

    /// Asks the other event loops to evict an idle connection, or takes that back.
    pub(crate) fn set_eviction_wanted(&self, wanted: bool) {
        self.eviction_wanted.store(wanted, Ordering::Relaxed);
    }

    /// Returns whether an event loop has asked for an eviction.
    pub(crate) fn is_eviction_wanted(&self) -> bool {
        self.eviction_wanted.load(Ordering::Relaxed)
    }

    /// Takes the request for an eviction: true for one caller, which has made room or is about to.
    pub(crate) fn take_eviction_request(&self) -> bool {
        self.is_eviction_wanted() && self.eviction_wanted.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn grace(&self) -> Duration {
        self.limits.grace
    }

    pub(crate) fn backoff(&self) -> Duration {
        BACKOFF
    }
}
