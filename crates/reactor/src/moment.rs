//! A moment of the monotonic clock in 8 bytes: every connection remembers several, and an `Instant` has
//! 16.
//!
//! # Limitations
//!
//! It covers the time from an hour before the process first asks for one to 580 years later; what is
//! earlier or later becomes the first or the last of these.

use std::num::NonZeroU64;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Nanoseconds since the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(NonZeroU64);

static ORIGIN: LazyLock<Instant> = LazyLock::new(|| {
    let now = Instant::now();
    now.checked_sub(Duration::from_secs(3600)).unwrap_or(now)
});

impl Moment {
    pub(crate) fn instant(self) -> Instant {
        *ORIGIN + Duration::from_nanos(self.0.get())
    }

    pub(crate) fn saturating_add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)))
    }

    pub(crate) fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }
}

impl From<Instant> for Moment {
    fn from(instant: Instant) -> Self {
        let since = instant.saturating_duration_since(*ORIGIN).as_nanos();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        Self(NonZeroU64::new(since).unwrap_or(NonZeroU64::MIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_survives_the_conversion() {
        let now = Instant::now();
        for instant in [now, now + Duration::from_nanos(1), now + Duration::from_secs(1 << 32)] {
            assert_eq!(Moment::from(instant).instant(), instant);
        }
        assert!(Moment::from(now) < Moment::from(now + Duration::from_nanos(1)));
        assert_eq!(size_of::<Option<Moment>>(), 8);
    }
}
