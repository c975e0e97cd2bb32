//! Core dumps and debuggers: `RLIMIT_CORE` (getrlimit(2)), `PR_SET_DUMPABLE` (prctl(2), Linux 2.3.20).
//!
//! # Limitations
//!
//! A handler to which the kernel pipes core dumps (core(5)) gets one regardless of `RLIMIT_CORE`, unless the
//! process is not dumpable. Not dumpable means that its files in /proc belong to root, so other programs of the
//! same user cannot examine it.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use std::io;

use crate::failed;

/// Lets the kernel write no core file for this process.
///
/// # Errors
/// As setrlimit(2).
pub fn disable_core_dumps() -> io::Result<()> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).map_err(failed("setrlimit RLIMIT_CORE"))
}

/// Makes this process not dumpable: no core dump by any way, and no ptrace(2) by another process without
/// `CAP_SYS_PTRACE`.
///
/// # Errors
/// As prctl(2).
pub fn forbid_tracing() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed("prctl PR_SET_DUMPABLE"))
}
