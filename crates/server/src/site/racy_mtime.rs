//! Racy files, as Git calls them: a file whose time stamps are too recent to distinguish two of its
//! versions. clock_getres(2).
//!
//! A file system takes time stamps from the coarse clock: two writes within one tick (1 to 10 ms) leave
//! the same mtime and ctime, and some file systems keep whole seconds only (two, on FAT). Within that
//! granularity a time stamp proves nothing, so a racy file is not cached and has no validator. A weak tag
//! is no help: `If-None-Match` compares weakly, and would match the next version.
//!
//! # Limitations
//!
//! A network file system uses the clock of its server, which is compared with the local clock here; a
//! clock that is behind by more than the granularity defeats the test.

use std::time::Duration;

use rustix::fs::{Statx, StatxTimestamp};
use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};

/// The real-time clock at one moment, and the granularity of time stamps.
pub(super) struct FileClock {
    now: i128,
    granularity: i128,
}

impl FileClock {
    pub(super) fn read(granularity: Duration) -> Self {
        Self::at(clock_gettime(ClockId::Realtime), granularity)
    }

    /// Returns whether the file may change once more with the same time stamps. A modification time in the
    /// future was set by hand, and no write will produce it; then the change time decides, if there is
    /// one.
    pub(super) fn is_racy(&self, meta: &Statx) -> bool {
        let set_ahead = self.is_future(&meta.stx_mtime) && meta.stx_ctime.tv_sec > 1;
        self.is_recent(&meta.stx_ctime) || (self.is_recent(&meta.stx_mtime) && !set_ahead)
    }

    fn is_future(&self, stamp: &StatxTimestamp) -> bool {
        nanoseconds(stamp.tv_sec, i64::from(stamp.tv_nsec)) > self.now
    }

    fn is_recent(&self, stamp: &StatxTimestamp) -> bool {
        // No nanoseconds: most likely the file system keeps none.
        let granularity = if stamp.tv_nsec == 0 {
            COARSE_GRANULARITY + self.granularity
        } else {
            self.granularity
        };
        self.now - nanoseconds(stamp.tv_sec, i64::from(stamp.tv_nsec)) < granularity
    }

    /// Returns whole seconds since 1970.
    pub(super) fn seconds(&self) -> u64 {
        u64::try_from(self.now / SECOND).unwrap_or(0)
    }

    fn at(now: Timespec, granularity: Duration) -> Self {
        let granularity = i128::try_from(granularity.as_nanos()).unwrap_or(COARSE_GRANULARITY);
        Self { now: nanoseconds(now.tv_sec, now.tv_nsec), granularity }
    }
}

/// Returns the granularity on a file system that keeps nanoseconds: twice the tick of the coarse clock.
pub(super) fn granularity() -> Duration {
    let tick = clock_getres(ClockId::RealtimeCoarse);
    let tick = Duration::try_from(tick).unwrap_or(Duration::from_millis(10));
    tick * 2
}

fn nanoseconds(seconds: i64, nanoseconds: i64) -> i128 {
    i128::from(seconds) * SECOND + i128::from(nanoseconds)
}

const SECOND: i128 = 1_000_000_000;
const COARSE_GRANULARITY: i128 = 2 * SECOND;

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, StatxFlags, statx};

    #[test]
    fn a_time_stamp_is_recent_within_the_granularity_and_in_the_future() {
        let granularity = Duration::from_millis(8);
        let clock = FileClock::at(Timespec { tv_sec: 1000, tv_nsec: 500_000_000 }, granularity);
        // The type has no constructor, so a real one is changed.
        let meta = statx(CWD, "/", rustix::fs::AtFlags::empty(), StatxFlags::MTIME).unwrap();
        let racy = |seconds, nanos| {
            let mut stamp = meta.stx_mtime;
            (stamp.tv_sec, stamp.tv_nsec) = (seconds, nanos);
            clock.is_recent(&stamp)
        };
        assert!(racy(1000, 500_000_000));
        assert!(racy(1000, 492_000_001));
        assert!(!racy(1000, 492_000_000));
        assert!(racy(1001, 1), "the future");
        assert!(racy(999, 0), "whole seconds: two of them");
        assert!(!racy(998, 0));
        assert!(!racy(998, 492_000_000));
        let clock = FileClock::at(Timespec { tv_sec: 1000, tv_nsec: 7_000_000 }, granularity);
        let mut stamp = meta.stx_mtime;
        (stamp.tv_sec, stamp.tv_nsec) = (998, 0);
        assert!(clock.is_recent(&stamp), "the coarse clock may be a tick behind");
        assert!(!racy(-1, 5));
        assert_eq!(clock.seconds(), 1000);
    }

    #[test]
    fn the_grain_is_that_of_a_tick() {
        assert!(
            granularity() > Duration::ZERO && granularity() <= Duration::from_millis(20),
            "{:?}",
            granularity()
        );
    }
}
