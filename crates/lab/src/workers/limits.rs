//! Tests of limits: of select, poll and open descriptors; and of reading the clock. It changes the
//! limits of the worker, which should not be used afterwards.

use karez_sys::{FdSet, PollEntry, poll, select};
use rustix::event::{EventfdFlags, PollFlags, eventfd};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::Duration;

use super::command::number;
use crate::error::{ErrorContext as _, Result};
use crate::probe::mark;

/// A descriptor above the capacity of glibc's `fd_set`, if one can be opened.
const HIGH_DESCRIPTOR: i32 = 3000;

/// The lowered limit on open descriptors.
const LOW_LIMIT: u64 = 256;

/// Calls select on a high descriptor, then poll and open beyond the descriptor limit.
pub(super) fn limits() -> Result<Value> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    setrlimit(Resource::Nofile, raised).context("raise", "RLIMIT_NOFILE")?;
    let one = eventfd(1, EventfdFlags::CLOEXEC).context("open", "an eventfd")?;
    let (high, found) = select_on_high_descriptor(&one);

    let lowered = Rlimit { current: Some(LOW_LIMIT), ..limit };
    setrlimit(Resource::Nofile, lowered).context("lower", "RLIMIT_NOFILE")?;
    let limit_of_descriptors = usize::try_from(LOW_LIMIT).unwrap_or(0);
    let polled = |count| {
        let mut all: Vec<_> =
            (0..count).map(|_| PollEntry::new(one.as_fd(), PollFlags::IN)).collect();
        errno(poll(&mut all, Some(Duration::ZERO)))
    };
    let (below, above) = (polled(limit_of_descriptors), polled(limit_of_descriptors + 1));
    let mut opened = Vec::new();
    let refused = loop {
        match eventfd(0, EventfdFlags::CLOEXEC) {
            Ok(one) if opened.len() <= limit_of_descriptors => opened.push(one),
            other => break errno(other),
        }
    };
    Ok(json!({
        "high": high, "found": found.unwrap_or(0), "select": errno(found),
        "limit": LOW_LIMIT, "poll_at": below, "poll_above": above,
        "opened": opened.len(), "refused": refused,
    }))
}

/// Calls select on a duplicate with a high number and returns that number; 0 if there can be none.
fn select_on_high_descriptor(one: &OwnedFd) -> (i32, std::result::Result<usize, Errno>) {
    let high = match fcntl_dupfd_cloexec(one, HIGH_DESCRIPTOR) {
        Ok(high) => high,
        Err(errno) => return (0, Err(errno)),
    };
    let (mut read, mut write) = (FdSet::default(), FdSet::default());
    read.insert(high.as_fd());
    (high.as_raw_fd(), select(&mut read, &mut write, Some(Duration::ZERO)))
}

/// Reads the clock a number of times.
pub(super) fn read_clock(command: &Value) -> Result<Value> {
    let times = number(command, "times")?;
    // The first call locates the vDSO.
    let mut last = clock_gettime(ClockId::Monotonic).tv_nsec;
    mark::begin();
    for _ in 0..times {
        last = clock_gettime(ClockId::Monotonic).tv_nsec;
    }
    mark::end();
    Ok(json!({ "times": times, "last": last }))
}

/// Returns the errno of a result; 0 for success.
fn errno<T>(result: std::result::Result<T, Errno>) -> i32 {
    result.err().map_or(0, Errno::raw_os_error)
}
