//! The limits for a peer that takes bytes slowly: a stall timeout, and a minimum rate within it.
//!
//! The rate needs no counter and no timer of its own: where the peer takes less, the time of its last progress,
//! from which the stall timeout is counted, falls behind the clock. A peer that takes nothing is given up after
//! the stall timeout `T`, one at a share `s` of the rate after `T / (1 - s)`, one at the rate never; and
//! what it took faster before is not saved up.
//!
//! # Limitations
//!
//! Bytes count when the send buffer of the socket has accepted them, which it does in pieces of up to a third of
//! its size. A peer behind a large buffer is therefore given up when no piece was accepted for the stall timeout,
//! although it may take bytes at the rate; `TCP_NOTSENT_LOWAT` makes the pieces smaller.

use std::time::{Duration, Instant};

use crate::moment::Moment;

/// A deadline that is noticed later than this was missed because the thread did not run.
const LATE: Duration = Duration::from_millis(100);

/// Limits for a peer that takes bytes slowly.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StallLimits {
    /// In milliseconds.
    timeout: u32,
    /// In bytes per second; 0: any byte is progress.
    min_rate: u32,
}

impl StallLimits {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { timeout: milliseconds(timeout), min_rate: 0 }
    }

    /// Sets how long the peer may take no byte: rounded up, and to 49 days at most.
    pub(crate) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = milliseconds(timeout);
    }

    /// Sets the minimum rate; one above 4 GiB per second is cut to that.
    pub(crate) fn set_min_rate(&mut self, bytes_per_second: u64) {
        self.min_rate = u32::try_from(bytes_per_second).unwrap_or(u32::MAX);
    }

    /// Returns how long the peer may take no byte.
    pub(crate) fn timeout(self) -> Duration {
        Duration::from_millis(self.timeout.into())
    }

    /// Returns the time of the last progress after `bytes` were sent, where it was `before`.
    pub(crate) fn progress(self, before: Moment, bytes: u64, now: Instant) -> Moment {
        let now = Moment::from(now);
        // Bytes that are sent far behind the deadline: this process was stopped, and not the peer.
        let overdue = before.saturating_add(self.timeout() + LATE) <= now;
        if bytes == 0 {
            before
        } else if self.min_rate == 0 || overdue {
            now
        } else {
            let credit = bytes.saturating_mul(1_000_000_000) / u64::from(self.min_rate);
            before.saturating_add(Duration::from_nanos(credit)).min(now)
        }
    }
}

fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(min_rate: u64) -> StallLimits {
        let mut limits = StallLimits::new(Duration::from_secs(30));
        limits.set_min_rate(min_rate);
        limits
    }

    /// Returns after how many seconds a peer that takes `bytes` every `every` seconds is given up; `None` if it
    /// is not within a day.
    fn given_up_after(rate: u64, bytes: u64, every: u64) -> Option<u64> {
        let (start, limits) = (Instant::now() + Duration::from_secs(3600), limits(rate));
        let mut progress = Moment::from(start);
        for second in 1..86_400 {
            let now = start + Duration::from_secs(second);
            if progress.instant() + limits.timeout() <= now {
                return Some(second);
            }
            if second % every == 0 {
                progress = limits.progress(progress, bytes, now);
            }
        }
        None
    }

    #[test]
    fn slow_peers_are_given_up_and_others_are_not() {
        assert_eq!(given_up_after(1024, 0, 1), Some(30));
        assert_eq!(given_up_after(1024, 200, 2), Some(34));
        assert_eq!(given_up_after(1024, 512, 1), Some(59));
        assert_eq!(given_up_after(1024, 1024, 1), None);
        assert_eq!(given_up_after(1024, 1 << 20, 29), None);
        assert_eq!(given_up_after(1024, 1 << 20, 31), Some(30), "nothing is saved up");
        assert_eq!(given_up_after(0, 1, 29), None, "without a rate");
    }

    #[test]
    fn a_byte_after_the_process_was_stopped_is_progress() {
        let start = Instant::now() + Duration::from_secs(3600);
        let later = start + Duration::from_secs(60);
        assert_eq!(limits(1024).progress(start.into(), 1, later), Moment::from(later));
    }
}
