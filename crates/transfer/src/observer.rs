//! The observer of the process: rare events of all transfers, for metrics.
//!
//! A transfer reports a fallback and a page-in, which take a system call or the time of a disk at least, so an
//! observer costs nothing where bytes move. Without one a report is a load.
//!
//! # Limitations
//!
//! There is one observer for all transfers of the process, and it stays. Reads that an event loop makes itself
//! (io_uring, POSIX AIO) are no page-ins.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::via::Via;

/// Observes the transfers of the process, on the threads that run them. It must not block.
pub trait Observer: Send + Sync {
    /// A transfer has fallen back from a via to another, see [`Via::fallback`].
    fn fell_back(&self, from: Via, to: Via);

    /// A [page-in](crate::PageIn::run) has ended after this time; the bytes that it was to read.
    fn paged_in(&self, bytes: u64, took: Duration);
}

static OBSERVER: OnceLock<Box<dyn Observer>> = OnceLock::new();

/// Sets the observer of the process; false if there is one already, which stays.
pub fn set_observer(observer: Box<dyn Observer>) -> bool {
    OBSERVER.set(observer).is_ok()
}

/// Reports a fallback.
pub(crate) fn fell_back(from: Via, to: Via) {
    if let Some(observer) = OBSERVER.get() {
        observer.fell_back(from, to);
    }
}

/// Runs a page-in of so many bytes, and reports it.
pub(crate) fn page_in<T>(bytes: u64, run: impl FnOnce() -> T) -> T {
    let Some(observer) = OBSERVER.get() else { return run() };
    let started = Instant::now();
    let result = run();
    observer.paged_in(bytes, started.elapsed());
    result
}
