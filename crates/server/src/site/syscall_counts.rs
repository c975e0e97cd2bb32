//! Per-thread counters of the site's system calls: those that look names up, read directories and search
//! files. They only grow; the cost of a piece of work is the difference of two readings.

use karez_transfer::Calls;
use std::cell::Cell;

thread_local! {
    static COUNTERS: Counters = const { Counters([const { Cell::new(0) }; 7]) };
}

struct Counters([Cell<u64>; 7]);

/// A system call of the site.
#[derive(Clone, Copy)]
pub(super) enum Syscall {
    Openat2,
    Statx,
    Getdents64,
    Pread64,
    Preadv2,
    Ppoll,
    Read,
}

/// Counts a call of the calling thread.
pub(super) fn count(call: Syscall) {
    COUNTERS.with(|made| {
        let cell = &made.0[call as usize];
        cell.set(cell.get() + 1);
    });
}

/// A reading of the counters, or the difference of two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SyscallCounts([u64; 7]);

impl SyscallCounts {
    /// Returns the counters of the calling thread.
    pub(crate) fn of_this_thread() -> Self {
        Self(COUNTERS.with(|made| made.0.each_ref().map(Cell::get)))
    }

    pub(crate) fn add(&mut self, other: Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at] - before.0[at]))
    }
}

impl From<SyscallCounts> for Calls {
    fn from(SyscallCounts(made): SyscallCounts) -> Self {
        let of = |call: Syscall| made[call as usize];
        Self {
            openat2: of(Syscall::Openat2),
            statx: of(Syscall::Statx),
            getdents64: of(Syscall::Getdents64),
            pread64: of(Syscall::Pread64),
            preadv2: of(Syscall::Preadv2),
            ppoll: of(Syscall::Ppoll),
            read: of(Syscall::Read),
            ..Self::default()
        }
    }
}
