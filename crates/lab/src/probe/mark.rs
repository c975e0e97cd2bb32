//! Marks for the begin and end of counting: two system calls that have no effect, cannot fail and
//! are not used otherwise. So exactly the calls in between are counted, without signals or pipes.
//!
//! Neither call returns a process id: in a PID namespace (pid_namespaces(7)) the session or process
//! group may have no id.

use rustix::process::{getgid, getppid};

/// Returns the number of the begin call.
pub(crate) fn begin_number() -> u64 {
    u64::try_from(libc::SYS_getgid).unwrap_or(u64::MAX)
}

/// Returns the number of the end call.
pub(crate) fn end_number() -> u64 {
    u64::try_from(libc::SYS_getppid).unwrap_or(u64::MAX)
}

/// Starts counting for this process.
pub(crate) fn begin() {
    let _own_group = getgid();
}

/// Ends counting for this process.
pub(crate) fn end() {
    let _parent = getppid();
}
