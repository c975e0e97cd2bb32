//! Whether the event loops of a server run: each responds to a round by handling a wake-up.
//!
//! A response proves that the event loop has returned from its wait and handled its notifications, so a
//! watchdog that asks for it notices an event loop that is blocked. Without a round it costs a load for each
//! wake-up, and nothing for a request.
//!
//! # Limitations
//!
//! The threads of a pool are not asked: one of them may hang for as long as its device does.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The responses of the event loops.
#[derive(Debug, Default)]
pub(crate) struct Liveness {
    round: AtomicU64,
    acceptors: AtomicUsize,
    state: Mutex<LivenessState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct LivenessState {
    /// The number of event loops, once the server runs.
    event_loops: usize,
    /// The responses of the current round.
    responses: usize,
}

impl Liveness {
    /// Notes how many event loops there are, and how many of them accept.
    pub(crate) fn expect(&self, event_loops: usize, acceptors: usize) {
        self.acceptors.store(acceptors, Ordering::SeqCst);
        self.lock().event_loops = event_loops;
        self.changed.notify_all();
    }

    /// Returns whether a round has begun.
    pub(crate) fn has_round(&self) -> bool {
        self.round.load(Ordering::SeqCst) > 0
    }

    /// Begins a round, and returns its number.
    pub(crate) fn begin_round(&self) -> u64 {
        let mut state = self.lock();
        state.responses = 0;
        self.round.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Counts the response of an event loop, once in a round; `seen` is the round of its last one.
    pub(crate) fn respond(&self, seen: &mut u64) {
        if self.round.load(Ordering::SeqCst) == *seen {
            return;
        }
        let mut state = self.lock();
        // Under the lock, so that the response counts for the round it belongs to.
        *seen = self.round.load(Ordering::SeqCst);
        state.responses += 1;
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until every event loop has responded in this round; false after the timeout, or if another
    /// round has begun.
    pub(crate) fn wait(&self, round: u64, timeout: Duration) -> bool {
        let is_current = || self.round.load(Ordering::SeqCst) == round;
        let missing = |state: &mut LivenessState| {
            is_current() && (state.event_loops == 0 || state.responses < state.event_loops)
        };
        let waited = self.changed.wait_timeout_while(self.lock(), timeout, missing);
        let in_time = !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out();
        in_time && is_current()
    }

    /// Notes that an event loop accepts no more; true if it was the last one.
    pub(crate) fn acceptor_ended(&self) -> bool {
        let _state = self.lock();
        let less = |count: usize| count.checked_sub(1);
        let is_last =
            self.acceptors.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less) == Ok(1);
        if is_last {
            self.changed.notify_all();
        }
        is_last
    }

    /// Returns whether an event loop accepts.
    pub(crate) fn is_accepting(&self) -> bool {
        self.acceptors.load(Ordering::SeqCst) > 0
    }

    /// Waits until no event loop accepts; false after the timeout.
    pub(crate) fn wait_for_acceptors(&self, timeout: Duration) -> bool {
        let accepts = |_: &mut LivenessState| self.is_accepting();
        let waited = self.changed.wait_timeout_while(self.lock(), timeout, accepts);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    fn lock(&self) -> MutexGuard<'_, LivenessState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn a_round_ends_when_every_event_loop_has_responded() {
        let liveness = Liveness::default();
        liveness.expect(2, 1);
        let (mut first, mut second) = (0, 0);
        let round = liveness.begin_round();
        liveness.respond(&mut first);
        liveness.respond(&mut first);
        assert!(!liveness.wait(round, Duration::ZERO), "one of two");
        liveness.respond(&mut second);
        assert!(liveness.wait(round, Duration::ZERO));
        let next = liveness.begin_round();
        liveness.respond(&mut second);
        assert!(!liveness.wait(next, Duration::ZERO), "responses of the round before do not count");
        assert!(!liveness.wait(round, Duration::ZERO), "the round is over");
    }

    #[test]
    fn a_server_that_does_not_run_does_not_respond() {
        let liveness = Liveness::default();
        let round = liveness.begin_round();
        assert!(!liveness.wait(round, Duration::ZERO));
    }

    #[test]
    fn the_last_acceptor_is_noticed() {
        let liveness = Liveness::default();
        liveness.expect(3, 2);
        assert!(!liveness.acceptor_ended());
        assert!(liveness.is_accepting() && !liveness.wait_for_acceptors(Duration::ZERO));
        assert!(liveness.acceptor_ended());
        assert!(!liveness.is_accepting() && liveness.wait_for_acceptors(Duration::ZERO));
    }
}
