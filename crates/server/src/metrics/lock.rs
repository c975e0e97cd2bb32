//! Locks of what scrapes share with rare events.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks it. No code that could panic runs under a lock.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
