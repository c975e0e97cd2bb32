//! The shard that a thread counts in.

use std::cell::RefCell;
use std::sync::Arc;

use super::Metrics;
use super::shard::Shard;

/// A shard that a thread has until it ends.
struct Lease {
    metrics: Metrics,
    shard: Arc<Shard>,
}

thread_local! {
    static LEASE: RefCell<Option<Lease>> = const { RefCell::new(None) };
}

/// Calls `count` with the shard of this thread, if it has one: without metrics no thread has.
pub(super) fn with_shard(count: impl FnOnce(&Shard)) {
    // While the thread ends there is no lease.
    let _ended = LEASE.try_with(|lease| {
        if let Ok(lease) = lease.try_borrow()
            && let Some(lease) = &*lease
        {
            count(&lease.shard);
        }
    });
}

/// The same with the shard of these metrics, which the thread takes if it has none.
pub(super) fn with_shard_of(metrics: &Metrics, count: impl FnOnce(&Shard)) {
    let _ended = LEASE.try_with(|lease| {
        let Ok(mut lease) = lease.try_borrow_mut() else { return };
        let fits = |lease: &Lease| Arc::ptr_eq(&lease.metrics.0, &metrics.0);
        if !lease.as_ref().is_some_and(fits) {
            *lease = Some(Lease { metrics: metrics.clone(), shard: metrics.lease() });
        }
        if let Some(lease) = &*lease {
            count(&lease.shard);
        }
    });
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.metrics.give_back(Arc::clone(&self.shard));
    }
}

/// Returns the metrics that this thread counts for, if it does.
pub(super) fn metrics_of_thread() -> Option<Metrics> {
    let metrics = |lease: &RefCell<Option<Lease>>| {
        lease.try_borrow().ok()?.as_ref().map(|lease| lease.metrics.clone())
    };
    LEASE.try_with(metrics).ok().flatten()
}
