//! Stopping: a flag that tasks may look at and an eventfd(2) for each reactor that sleeps.

use rustix::event::{EventfdFlags, eventfd};
use rustix::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A handle by which a server is told to stop. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    begun: AtomicBool,
    sleepers: Mutex<Vec<Arc<OwnedFd>>>,
}

impl Stop {
    /// A handle for a server that is to run until [`begin`](Self::begin).
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops accepting, closes what is idle, and gives the rest its grace. Returns at once; more
    /// calls change nothing.
    pub fn begin(&self) {
        self.shared.begun.store(true, Ordering::SeqCst);
        self.wake_all();
    }

    /// Wakes every reactor, so that it looks what is new.
    pub(crate) fn wake_all(&self) {
        for sleeper in self.sleepers().iter() {
            // Its counter cannot overflow, so the write cannot fail in a way that matters.
            let _woken = io::write(sleeper, &1_u64.to_ne_bytes());
        }
    }

    /// Whether the stop has begun: say `Connection: close` from now on.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.shared.begun.load(Ordering::Relaxed)
    }

    /// A descriptor that becomes readable when the stop begins or something else is new.
    pub(crate) fn sleeper(&self) -> io::Result<Arc<OwnedFd>> {
        let fd = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        self.sleepers().push(Arc::clone(&fd));
        if self.shared.begun.load(Ordering::SeqCst) {
            io::write(&fd, &1_u64.to_ne_bytes())?;
        }
        Ok(fd)
    }

    fn sleepers(&self) -> std::sync::MutexGuard<'_, Vec<Arc<OwnedFd>>> {
        self.shared.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
