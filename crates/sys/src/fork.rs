//! fork(2) of a process that has one thread, where the child may do everything that the parent may.
//!
//! # Limitations
//!
//! The number of threads is read from /proc/self/task (proc(5), Linux 2.6.0): without /proc there is no fork.
//! The child shares the descriptors of the parent until it closes them.

use rustix::io::{self, Errno};
use rustix::process::Pid;

use crate::last_errno;

/// Which process returned from [`fork`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// The parent, and the process ID of the child.
    Parent(Pid),
    /// The child.
    Child,
}

/// Makes a copy of this process.
///
/// # Errors
/// `EDEADLK` if there is another thread, whose locks the child could wait for without end; `ENOENT` without
/// /proc; `EAGAIN` at `RLIMIT_NPROC`; `ENOMEM`.
pub fn fork() -> io::Result<Fork> {
    if threads()? != 1 {
        return Err(Errno::DEADLK);
    }
    // SAFETY: this is the only thread, so no lock is held by a thread that the child does not have, and no
    // other thread can be made before the call.
    match unsafe { libc::fork() } {
        0 => Ok(Fork::Child),
        // `Pid` takes no negative number.
        ..0 => Err(last_errno()),
        pid => Pid::from_raw(pid).map(Fork::Parent).ok_or(Errno::AGAIN),
    }
}

fn threads() -> io::Result<usize> {
    let of_io = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    Ok(std::fs::read_dir("/proc/self/task").map_err(of_io)?.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A test has a thread of its own.
    #[test]
    fn a_process_with_threads_is_not_copied() {
        assert_eq!(fork(), Err(Errno::DEADLK));
    }
}
