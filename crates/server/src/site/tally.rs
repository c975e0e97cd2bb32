//! The tally: how many system calls each thread has made to look names up, to read directories and
//! to search files, by name. It only ever grows; who wants to know what something cost looks before
//! and behind.

use karez_transfer::Calls;
use std::cell::Cell;

thread_local! {
    static MADE: Made = const { Made([const { Cell::new(0) }; 4]) };
}

struct Made([Cell<u64>; 4]);

/// A system call of the site.
#[derive(Clone, Copy)]
pub(super) enum Call {
    Openat2,
    Statx,
    Getdents64,
    Pread64,
}

/// Counts a call of this thread.
pub(super) fn count(call: Call) {
    MADE.with(|made| {
        let cell = &made.0[call as usize];
        cell.set(cell.get() + 1);
    });
}

/// So many of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally([u64; 4]);

impl Tally {
    /// What the calling thread has made since it began.
    pub(crate) fn of_this_thread() -> Self {
        Self(MADE.with(|made| made.0.each_ref().map(Cell::get)))
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

impl From<Tally> for Calls {
    fn from(Tally(made): Tally) -> Self {
        let of = |call: Call| made[call as usize];
        Self {
            openat2: of(Call::Openat2),
            statx: of(Call::Statx),
            getdents64: of(Call::Getdents64),
            pread64: of(Call::Pread64),
            ..Self::default()
        }
    }
}
