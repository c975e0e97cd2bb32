//! Draining: the time between a stop signal and the graceful shutdown, in which the server serves as before and
//! only its health says that it ends, so that load balancers send their requests elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Begins to drain a server. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Drain(Arc<AtomicBool>);

impl Drain {
    /// Makes the server report that it ends. It still serves; more calls change nothing.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
