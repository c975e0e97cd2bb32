//! Resource usage of the calling thread or process: getrusage(2), for a thread with
//! `RUSAGE_THREAD`, Linux 2.6.26.
//!
//! # Limitations
//! Faults in user mode and in kernel mode are one number. On some kernels system time is sampled by
//! the timer tick, and it includes interrupts handled on the thread's time.

use std::mem::zeroed;
use std::time::Duration;

/// Resources used since the start of a thread or process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time in user mode.
    pub user: Duration,
    /// CPU time in kernel mode.
    pub system: Duration,
    /// Page faults resolved without I/O.
    pub minor_faults: u64,
    /// Page faults that waited for a disk.
    pub major_faults: u64,
    /// Context switches because the thread blocked.
    pub voluntary: u64,
    /// Context switches because the thread was preempted.
    pub involuntary: u64,
}

impl Usage {
    /// Returns the usage since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
            minor_faults: self.minor_faults.saturating_sub(before.minor_faults),
            major_faults: self.major_faults.saturating_sub(before.major_faults),
            voluntary: self.voluntary.saturating_sub(before.voluntary),
            involuntary: self.involuntary.saturating_sub(before.involuntary),
        }
    }
}

/// Returns the usage of the calling thread.
#[must_use]
pub fn thread_usage() -> Usage {
    usage_of(libc::RUSAGE_THREAD)
}

/// Returns the usage of all threads of this process, including ended ones.
#[must_use]
pub fn process_usage() -> Usage {
    usage_of(libc::RUSAGE_SELF)
}

fn usage_of(who: libc::c_int) -> Usage {
    // SAFETY: zeros are valid for a struct of integers.
    let mut usage: libc::rusage = unsafe { zeroed() };
    // SAFETY: the kernel writes to the struct above. The call cannot fail for the calling process.
    let _always_0 = unsafe { libc::getrusage(who, &raw mut usage) };
    let count = |number: libc::c_long| u64::try_from(number).unwrap_or(0);
    Usage {
        user: duration(usage.ru_utime),
        system: duration(usage.ru_stime),
        minor_faults: count(usage.ru_minflt),
        major_faults: count(usage.ru_majflt),
        voluntary: count(usage.ru_nvcsw),
        involuntary: count(usage.ru_nivcsw),
    }
}

fn duration(time: libc::timeval) -> Duration {
    let seconds = Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or(0));
    seconds + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_touch_of_memory_is_a_fault() {
        let before = thread_usage();
        let pages = vec![1_u8; 4 << 20];
        let used = thread_usage().since(&before);
        assert!(used.minor_faults > 0, "{used:?}, {}", pages[pages.len() / 2]);
    }

    #[test]
    fn process_usage_includes_ended_threads() {
        let before = process_usage();
        let touch = || vec![1_u8; 4 << 20][2 << 20];
        assert_eq!(std::thread::spawn(touch).join().unwrap(), 1);
        let used = process_usage().since(&before);
        assert!(used.minor_faults > 0, "{used:?}");
    }
}
