//! Graceful shutdown and draining: a phase that tasks may read, and the wakers of the event loops.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::sync::liveness::Liveness;
use crate::sync::waker::Waker;

/// The server accepts and serves.
const RUNNING: u8 = 0;

/// Nothing is accepted any more, and idle connections stay.
const DRAINING: u8 = 1;

/// Nothing is accepted any more, and idle connections are closed.
const TRIGGERED: u8 = 2;

/// Triggers the graceful shutdown of a server. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    state: Arc<ShutdownState>,
}

#[derive(Debug, Default)]
struct ShutdownState {
    phase: AtomicU8,
    wakers: Mutex<Vec<Arc<Waker>>>,
    liveness: Liveness,
}

impl Shutdown {
    /// Returns a handle for a server that runs until [`begin`](Self::trigger).
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops accepting, closes idle connections, and gives the rest a grace period. Returns at once, unless
    /// the kernel can neither wake an event loop nor make the thread that would retry it; more calls
    /// change nothing.
    pub fn trigger(&self) {
        self.advance(TRIGGERED);
    }

    /// Stops accepting, and gives all connections a grace period, idle ones included: each may send one
    /// more request, whose response announces the end, so that no client loses a request. For a server
    /// whose listeners [another process has](crate::Handover). Connections that are in the queue of a
    /// listener stay there. Returns as [`trigger`](Self::trigger) does, which may follow.
    pub fn drain(&self) {
        self.advance(DRAINING);
    }

    fn advance(&self, phase: u8) {
        self.state.phase.fetch_max(phase, Ordering::SeqCst);
        self.wake_all();
    }

    /// Wakes every event loop, so that it checks for a shutdown and for requests.
    pub(crate) fn wake_all(&self) {
        for waker in self.wakers().iter() {
            waker.wake();
        }
    }

    /// Returns whether the shutdown has begun, or the server drains: from then on tasks should not start
    /// anything new.
    #[must_use]
    pub fn is_triggered(&self) -> bool {
        self.state.phase.load(Ordering::Relaxed) != RUNNING
    }

    /// Returns whether idle connections are to be closed.
    pub(crate) fn closes_idle(&self) -> bool {
        self.state.phase.load(Ordering::SeqCst) == TRIGGERED
    }

    /// Wakes every event loop of a server that runs, and waits until each has handled the wake-up. False
    /// after the timeout: an event loop is blocked, or the server does not run. With model `blocking` it is
    /// the thread that waits for the shutdown which responds.
    #[must_use]
    pub fn responds_within(&self, timeout: Duration) -> bool {
        let round = self.state.liveness.begin_round();
        self.wake_all();
        self.state.liveness.wait(round, timeout)
    }

    /// Waits until no event loop accepts any more. False after the timeout.
    #[must_use]
    pub fn stops_accepting_within(&self, timeout: Duration) -> bool {
        self.state.liveness.wait_for_acceptors(timeout)
    }

    /// Notes how many event loops the server has, and how many of them accept.
    pub(crate) fn expect(&self, event_loops: usize, acceptors: usize) {
        self.state.liveness.expect(event_loops, acceptors);
    }

    /// Responds for an event loop to [`responds_within`](Self::responds_within), once in each round; `seen`
    /// is the round of its last response.
    pub(crate) fn respond(&self, seen: &mut u64) {
        self.state.liveness.respond(seen);
    }

    /// Notes that an event loop accepts no more. The last one wakes the others, which may wait for
    /// connections that it has passed on.
    pub(crate) fn acceptor_ended(&self) {
        if self.state.liveness.acceptor_ended() {
            self.wake_all();
        }
    }

    /// Returns whether an event loop still accepts.
    pub(crate) fn is_accepting(&self) -> bool {
        self.state.liveness.is_accepting()
    }

    /// Adds a waker, which is woken when the shutdown begins and by [`wake_all`](Self::wake_all); at once,
    /// if the shutdown has begun or a response is expected.
    pub(crate) fn subscribe(&self, waker: &Arc<Waker>) {
        self.wakers().push(Arc::clone(waker));
        if self.is_triggered() || self.state.liveness.has_round() {
            waker.wake();
        }
    }

    fn wakers(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Waker>>> {
        self.state.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn a_shutdown_may_follow_a_drain_but_not_the_reverse() {
        let shutdown = Shutdown::new();
        assert!(!shutdown.is_triggered());
        shutdown.drain();
        assert!(shutdown.is_triggered() && !shutdown.closes_idle());
        shutdown.trigger();
        shutdown.drain();
        assert!(shutdown.closes_idle());
    }
}
