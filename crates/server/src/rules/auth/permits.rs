//! Permits to compute a hash of a password: half as many as there are cores, and at least one, for the
//! process. So a flood of wrong passwords leaves time and memory for other requests.

use std::num::NonZeroUsize;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

static IN_USE: Mutex<usize> = Mutex::new(0);
static RELEASED: Condvar = Condvar::new();

/// A permit, until it is dropped.
pub(super) struct Permit(());

/// Waits for a permit. Blocks.
pub(super) fn acquire() -> Permit {
    let permits = thread::available_parallelism().map_or(1, NonZeroUsize::get).div_ceil(2);
    let none_left = |in_use: &mut usize| *in_use >= permits;
    let guard = RELEASED.wait_while(lock(), none_left);
    *guard.unwrap_or_else(PoisonError::into_inner) += 1;
    Permit(())
}

impl Drop for Permit {
    fn drop(&mut self) {
        *lock() -= 1;
        RELEASED.notify_one();
    }
}

fn lock() -> MutexGuard<'static, usize> {
    IN_USE.lock().unwrap_or_else(PoisonError::into_inner)
}
