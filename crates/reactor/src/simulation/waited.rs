//! What a turn of a simulated event loop has waited for.

use std::cell::Cell;
use std::time::Duration;

use karez_sys::simulation::{Point, happens};
use rustix::io::{self, Errno};

/// What a turn has waited for.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Waited {
    /// How long the event loop would have waited; `None` without an end.
    pub timeout: Option<Duration>,
    /// Reports or completions.
    pub delivered: usize,
    /// Reports or operations that the schedule has put off.
    pub late: usize,
}

impl Waited {
    /// Begins a wait of the event loop.
    ///
    /// # Errors
    /// `EINTR`, where the schedule interrupts it.
    pub(super) fn begin(this: &Cell<Self>, timeout: Option<Duration>) -> io::Result<Self> {
        let mut waited = this.get();
        if waited.delivered == 0 {
            waited.timeout = timeout;
        }
        if happens(Point::InterruptedWait) {
            waited.late += 1;
            this.set(waited);
            return Err(Errno::INTR);
        }
        Ok(waited)
    }

    /// Returns whether the event loop would have slept: nothing is left to be done until something happens outside.
    #[must_use]
    pub fn sleeps(&self) -> bool {
        self.delivered == 0 && self.late == 0 && self.timeout != Some(Duration::ZERO)
    }
}
