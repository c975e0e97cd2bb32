//! Stopping: a flag that tasks may look at and a waker for each reactor that sleeps.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::sync::waker::Waker;

/// A handle by which a server is told to stop. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    begun: AtomicBool,
    sleepers: Mutex<Vec<Arc<Waker>>>,
}

impl Stop {
    /// A handle for a server that is to run until [`begin`](Self::begin).
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops accepting, closes what is idle, and gives the rest its grace. Returns at once, unless
    /// the kernel refuses to wake a reactor and to make the thread that would retry it; more calls
    /// change nothing.
    pub fn begin(&self) {
        self.shared.begun.store(true, Ordering::SeqCst);
        self.wake_all();
    }

    /// Wakes every reactor, so that it looks what is new.
    pub(crate) fn wake_all(&self) {
        for sleeper in self.sleepers().iter() {
            sleeper.wake();
        }
    }

    /// Whether the stop has begun: say `Connection: close` from now on.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.shared.begun.load(Ordering::Relaxed)
    }

    /// From now on `sleeper` is woken when the stop begins or something else is new; at once, if
    /// the stop has begun.
    pub(crate) fn rouses(&self, sleeper: &Arc<Waker>) {
        self.sleepers().push(Arc::clone(sleeper));
        if self.shared.begun.load(Ordering::SeqCst) {
            sleeper.wake();
        }
    }

    fn sleepers(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Waker>>> {
        self.shared.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
