//! What the calling thread, or the whole process, has used: getrusage(2), for a thread with
//! `RUSAGE_THREAD`, Linux 2.6.26.
//!
//! What it does badly: faults in user mode and in kernel mode are one number; system time is
//! sampled by the tick on some kernels, and has in it what interrupts did on the thread's time.

use std::mem::zeroed;
use std::time::Duration;

/// What a thread or a process has used since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time in user mode.
    pub user: Duration,
    /// CPU time in kernel mode.
    pub system: Duration,
    /// Page faults that needed no disk.
    pub minor_faults: u64,
    /// Page faults that waited for a disk.
    pub major_faults: u64,
    /// Context switches because it waited.
    pub voluntary: u64,
    /// Context switches because its time was over or another was more urgent.
    pub involuntary: u64,
}

impl Usage {
    /// What was used since `before`.
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

/// What the calling thread has used.
#[must_use]
pub fn thread_usage() -> Usage {
    usage_of(libc::RUSAGE_THREAD)
}

/// What all threads of this process have used, those that have ended too.
#[must_use]
pub fn process_usage() -> Usage {
    usage_of(libc::RUSAGE_SELF)
}

fn usage_of(who: libc::c_int) -> Usage {
    // SAFETY: a struct of integers, for which zeros are a value.
    let mut usage: libc::rusage = unsafe { zeroed() };
    // SAFETY: the kernel writes the struct above. It cannot fail for oneself.
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
