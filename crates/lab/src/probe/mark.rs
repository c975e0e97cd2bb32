//! Where a process begins and ends what is counted: two system calls that nothing here makes
//! otherwise, that do nothing and that cannot fail. So not one call too many is counted, and no
//! signal or pipe is needed to start and stop.
//!
//! Neither names a process: in a PID namespace (pid_namespaces(7)) the session or the group of a
//! process may be one that has no number there.

use rustix::process::{getgid, getppid};

/// The number of the call that begins.
pub(crate) fn begin_number() -> u64 {
    u64::try_from(libc::SYS_getgid).unwrap_or(u64::MAX)
}

/// The number of the call that ends.
pub(crate) fn end_number() -> u64 {
    u64::try_from(libc::SYS_getppid).unwrap_or(u64::MAX)
}

/// What this process does from now on is counted.
pub(crate) fn begin() {
    let _own_group = getgid();
}

/// What this process does from now on is not.
pub(crate) fn end() {
    let _parent = getppid();
}
