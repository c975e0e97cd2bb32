//! The worker that runs against limits: of select, of poll, of descriptors; and that asks for the
//! time. Its own limits are changed, so it is good for nothing else afterwards.

use karez_sys::{FdSet, Polled, poll, select};
use rustix::event::{EventfdFlags, PollFlags, eventfd};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::Duration;

use super::order::number;
use crate::error::{ErrorContext as _, Result};
use crate::probe::mark;

/// A descriptor beyond what glibc's `fd_set` has room for, where one may be had.
const HIGH: i32 = 3000;

/// How many descriptors may be open, once that is tried.
const FEW: u64 = 256;

/// Select on a high descriptor, then poll and open beyond the limit on descriptors.
pub(super) fn limits() -> Result<Value> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    setrlimit(Resource::Nofile, raised).context("raise", "RLIMIT_NOFILE")?;
    let one = eventfd(1, EventfdFlags::CLOEXEC).context("open", "an eventfd")?;
    let (high, found) = on_high(&one);

    let lowered = Rlimit { current: Some(FEW), ..limit };
    setrlimit(Resource::Nofile, lowered).context("lower", "RLIMIT_NOFILE")?;
    let few = usize::try_from(FEW).unwrap_or(0);
    let polled = |count| {
        let mut all: Vec<_> = (0..count).map(|_| Polled::new(one.as_fd(), PollFlags::IN)).collect();
        errno(poll(&mut all, Some(Duration::ZERO)))
    };
    let (below, above) = (polled(few), polled(few + 1));
    let mut opened = Vec::new();
    let refused = loop {
        match eventfd(0, EventfdFlags::CLOEXEC) {
            Ok(one) if opened.len() <= few => opened.push(one),
            other => break errno(other),
        }
    };
    Ok(json!({
        "high": high, "found": found.unwrap_or(0), "select": errno(found),
        "limit": FEW, "poll_at": below, "poll_above": above,
        "opened": opened.len(), "refused": refused,
    }))
}

/// What select finds on a duplicate with a high number, and that number; 0 where none may be had.
fn on_high(one: &OwnedFd) -> (i32, std::result::Result<usize, Errno>) {
    let high = match fcntl_dupfd_cloexec(one, HIGH) {
        Ok(high) => high,
        Err(errno) => return (0, Err(errno)),
    };
    let (mut read, mut write) = (FdSet::default(), FdSet::default());
    read.insert(high.as_fd());
    (high.as_raw_fd(), select(&mut read, &mut write, Some(Duration::ZERO)))
}

/// Asks for the time, so many times.
pub(super) fn clock(order: &Value) -> Result<Value> {
    let times = number(order, "times")?;
    // The first time finds out where the vDSO is.
    let mut last = clock_gettime(ClockId::Monotonic).tv_nsec;
    mark::begin();
    for _ in 0..times {
        last = clock_gettime(ClockId::Monotonic).tv_nsec;
    }
    mark::end();
    Ok(json!({ "times": times, "last": last }))
}

/// The number of what a call said; 0 for no error.
fn errno<T>(told: std::result::Result<T, Errno>) -> i32 {
    told.err().map_or(0, Errno::raw_os_error)
}
