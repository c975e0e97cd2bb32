//! Where a process begins and ends what is counted: two system calls that nothing here makes
//! otherwise, and that do nothing. So not one call too many is counted, and no signal or pipe is
//! needed to start and stop.

use rustix::process::{getpgid, getsid};

/// The number of the call that begins.
pub(crate) fn begin_number() -> u64 {
    u64::try_from(libc::SYS_getsid).unwrap_or(u64::MAX)
}

/// The number of the call that ends.
pub(crate) fn end_number() -> u64 {
    u64::try_from(libc::SYS_getpgid).unwrap_or(u64::MAX)
}

/// What this process does from now on is counted.
pub(crate) fn begin() {
    let _own_session = getsid(None);
}

/// What this process does from now on is not.
pub(crate) fn end() {
    let _own_group = getpgid(None);
}
