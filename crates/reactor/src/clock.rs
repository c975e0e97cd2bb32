//! The monotonic clock; in a simulation that of its schedule.

use std::time::Instant;

/// Returns the present time.
pub(crate) fn now() -> Instant {
    #[cfg(feature = "simulation")]
    return karez_sys::simulation::now();
    #[cfg(not(feature = "simulation"))]
    Instant::now()
}
