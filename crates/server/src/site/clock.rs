//! Is a file's time stamp too fresh to tell two versions of the file apart (*racy*, as Git calls
//! it)? clock_getres(2).
//!
//! A file system stamps with the coarse clock: two writes within one tick (1 to 10 ms) leave the
//! same mtime and ctime, and one with stamps of whole seconds (or two, on FAT) tells still less.
//! Within that grain a stamp proves nothing, so such a file is not cached, and has no validator.
//! A weak tag would not do: `If-None-Match` compares weakly, and so matches the next version.
//!
//! # Limitations
//! A network file system stamps with the server's clock, which is compared
//! with ours here; a clock that is behind ours by more than the grain defeats the test.

use std::time::Duration;

use rustix::fs::{Statx, StatxTimestamp};
use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};

/// The real-time clock at one moment, and the grain of file stamps.
pub(super) struct Clock {
    now: i128,
    grain: i128,
}

impl Clock {
    pub(super) fn read(grain: Duration) -> Self {
        Self::at(clock_gettime(ClockId::Realtime), grain)
    }

    /// Whether the file may change once more without its stamps showing it. A time of modification
    /// in the future was set by hand, and no write will hit upon it; what tells is the change time,
    /// if there is one.
    pub(super) fn finds_racy(&self, meta: &Statx) -> bool {
        let set_ahead = self.is_future(&meta.stx_mtime) && meta.stx_ctime.tv_sec > 1;
        self.is_racy(&meta.stx_ctime) || (self.is_racy(&meta.stx_mtime) && !set_ahead)
    }

    fn is_future(&self, stamp: &StatxTimestamp) -> bool {
        nanoseconds(stamp.tv_sec, i64::from(stamp.tv_nsec)) > self.now
    }

    fn is_racy(&self, stamp: &StatxTimestamp) -> bool {
        // No nanoseconds: most likely a file system that has none.
        let grain = if stamp.tv_nsec == 0 { COARSE_GRAIN + self.grain } else { self.grain };
        self.now - nanoseconds(stamp.tv_sec, i64::from(stamp.tv_nsec)) < grain
    }

    /// Whole seconds since 1970.
    pub(super) fn seconds(&self) -> u64 {
        u64::try_from(self.now / SECOND).unwrap_or(0)
    }

    fn at(now: Timespec, grain: Duration) -> Self {
        let grain = i128::try_from(grain.as_nanos()).unwrap_or(COARSE_GRAIN);
        Self { now: nanoseconds(now.tv_sec, now.tv_nsec), grain }
    }
}

/// The grain of stamps on a file system that keeps nanoseconds: the coarse clock's, doubled.
pub(super) fn grain() -> Duration {
    let tick = clock_getres(ClockId::RealtimeCoarse);
    let tick = Duration::try_from(tick).unwrap_or(Duration::from_millis(10));
    tick * 2
}

fn nanoseconds(seconds: i64, nanoseconds: i64) -> i128 {
    i128::from(seconds) * SECOND + i128::from(nanoseconds)
}

const SECOND: i128 = 1_000_000_000;
const COARSE_GRAIN: i128 = 2 * SECOND;

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, StatxFlags, statx};

    #[test]
    fn a_stamp_is_racy_within_the_grain_and_in_the_future() {
        let grain = Duration::from_millis(8);
        let clock = Clock::at(Timespec { tv_sec: 1000, tv_nsec: 500_000_000 }, grain);
        // The type cannot be made by hand, so a real one is borrowed and changed.
        let meta = statx(CWD, "/", rustix::fs::AtFlags::empty(), StatxFlags::MTIME).unwrap();
        let racy = |seconds, nanos| {
            let mut stamp = meta.stx_mtime;
            (stamp.tv_sec, stamp.tv_nsec) = (seconds, nanos);
            clock.is_racy(&stamp)
        };
        assert!(racy(1000, 500_000_000));
        assert!(racy(1000, 492_000_001));
        assert!(!racy(1000, 492_000_000));
        assert!(racy(1001, 1), "the future");
        assert!(racy(999, 0), "whole seconds: two of them");
        assert!(!racy(998, 0));
        assert!(!racy(998, 492_000_000));
        let clock = Clock::at(Timespec { tv_sec: 1000, tv_nsec: 7_000_000 }, grain);
        let mut stamp = meta.stx_mtime;
        (stamp.tv_sec, stamp.tv_nsec) = (998, 0);
        assert!(clock.is_racy(&stamp), "the coarse clock may be a tick behind");
        assert!(!racy(-1, 5));
        assert_eq!(clock.seconds(), 1000);
    }

    #[test]
    fn the_grain_is_that_of_a_tick() {
        assert!(grain() > Duration::ZERO && grain() <= Duration::from_millis(20), "{:?}", grain());
    }
}
