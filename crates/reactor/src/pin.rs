//! A core for each reactor: sched_setaffinity(2), Linux 2.5.8.
//!
//! # Limitations
//!
//! A pinned thread waits for its core while another core is free, so it pays only where nothing else runs
//! on them.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::io;

use crate::error::named;

/// The cores on which the calling thread may run.
pub(crate) fn cores() -> io::Result<CpuSet> {
    sched_getaffinity(None).map_err(named("sched_getaffinity"))
}

/// Keeps the calling thread on one of `cores`: the first for number 0, and round again.
pub(crate) fn pin(cores: &CpuSet, number: usize) -> io::Result<()> {
    let all: Vec<_> = (0..CpuSet::MAX_CPU).filter(|&core| cores.is_set(core)).collect();
    let Some(turn) = number.checked_rem(all.len()) else {
        return Ok(());
    };
    let mut own = CpuSet::new();
    own.set(all[turn]);
    sched_setaffinity(None, &own).map_err(named("sched_setaffinity"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_stays_on_its_core() {
        std::thread::spawn(|| {
            let all = cores().unwrap();
            for number in 0..2 * all.count() {
                pin(&all, number as usize).unwrap();
                let own = cores().unwrap();
                assert_eq!(own.count(), 1);
                assert!((0..CpuSet::MAX_CPU).all(|core| !own.is_set(core) || all.is_set(core)));
            }
        })
        .join()
        .unwrap();
    }
}
