//! Graceful shutdown: a flag that tasks may read, and the wakers of the event loops.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::sync::waker::Waker;

/// Triggers the graceful shutdown of a server. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    state: Arc<ShutdownState>,
}

#[derive(Debug, Default)]
struct ShutdownState {
    begun: AtomicBool,
    wakers: Mutex<Vec<Arc<Waker>>>,
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
        self.state.begun.store(true, Ordering::SeqCst);
        self.wake_all();
    }

    /// Wakes every event loop, so that it checks for a shutdown and for requests.
    pub(crate) fn wake_all(&self) {
        for waker in self.wakers().iter() {
            waker.wake();
        }
    }

    /// Returns whether the shutdown has begun: from then on tasks should not start anything new.
    #[must_use]
    pub fn is_triggered(&self) -> bool {
        self.state.begun.load(Ordering::Relaxed)
    }

    /// Adds a waker, which is woken when the shutdown begins and by [`wake_all`](Self::wake_all); at once,
    /// if the shutdown has begun.
    pub(crate) fn subscribe(&self, waker: &Arc<Waker>) {
        self.wakers().push(Arc::clone(waker));
        if self.state.begun.load(Ordering::SeqCst) {
            waker.wake();
        }
    }

    fn wakers(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Waker>>> {
        self.state.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
