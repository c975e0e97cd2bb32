//! Admission: how many connections there may be, over all threads, and how they are let go.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// How long accepting rests when there is no room or no descriptor, if nobody here leaves before.
const PAUSE: Duration = Duration::from_millis(50);

/// What a server allows its connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most connections at once. One more closes the one that has been idle longest (of its
    /// own reactor's if that has any, else of another's), or waits if none is idle.
    pub connections: usize,
    /// How long a stop waits for what is in flight.
    pub grace: Duration,
}

/// The limits and how much of them is used.
#[derive(Debug)]
pub(crate) struct Admission {
    limits: Limits,
    live: AtomicUsize,
    /// Somebody waits at the door of a reactor that has nobody idle.
    eviction_wanted: AtomicBool,
}

impl Admission {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, live: AtomicUsize::new(0), eviction_wanted: AtomicBool::new(false) }
    }

    /// Counts one more, if there is room.
    pub(crate) fn enter(&self) -> bool {
        if self.live.fetch_add(1, Ordering::Relaxed) < self.limits.connections {
            return true;
        }
        self.leave();
        false
    }

    /// Whether one more would be let in.
    pub(crate) fn has_room(&self) -> bool {
        self.live.load(Ordering::Relaxed) < self.limits.connections
    }

    /// Counts one less.
    pub(crate) fn leave(&self) {
        self.live.fetch_sub(1, Ordering::Relaxed);
    }

    /// Notes that another reactor should close an idle connection, or no longer needs to.
    pub(crate) fn set_eviction_wanted(&self, wanted: bool) {
        self.eviction_wanted.store(wanted, Ordering::Relaxed);
    }

    /// Whether it falls to the caller, who can make room or has made it, to say so.
    pub(crate) fn take_eviction_request(&self) -> bool {
        self.eviction_wanted.load(Ordering::Relaxed)
            && self.eviction_wanted.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn grace(&self) -> Duration {
        self.limits.grace
    }

    pub(crate) fn backoff(&self) -> Duration {
        PAUSE
    }
}
