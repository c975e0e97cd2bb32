//! State that the tasks of one event loop share, without a lock: a cache, for example.
//!
//! [`Service::local`](crate::Service::local) makes it in the thread of the event loop, and a task reaches it
//! by [`Io::local`](crate::Io::local) while it handles an event.

use std::any::Any;
use std::time::Instant;

/// State that the tasks of one event loop share.
pub trait Local: Any {
    /// Does work that is due without a request, such as dropping entries that were not used for long, and
    /// returns when it has to be called again. Called before each wait of the event loop that may block.
    fn tend(&mut self, _now: Instant) -> Option<Instant> {
        None
    }
}
