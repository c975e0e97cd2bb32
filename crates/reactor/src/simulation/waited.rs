//! What a turn of a simulated event loop has waited for.

use std::time::Duration;

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
    /// Returns whether the event loop would have slept: nothing is left to be done until something happens outside.
    #[must_use]
    pub fn sleeps(&self) -> bool {
        self.delivered == 0 && self.late == 0 && self.timeout != Some(Duration::ZERO)
    }
}
