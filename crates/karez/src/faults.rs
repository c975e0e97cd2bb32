//! Faults of system calls in the serving process: for tests only (the cargo feature `fault-injection`), and only if
//! the environment has a plan.
//!
//! # Limitations
//!
//! A new process of an upgrade is made by a process that has no faults, so it begins its own.

use std::io;

/// Whose value is a plan (`sendfile:3=EIO,accept4:*=EMFILE/10%`), or `@` and the file of a board.
const PLAN: &str = "KAREZ_FAULTS";

/// Begins the faults that the environment asks for. Their filter is inherited by all threads that are made later.
///
/// # Errors
/// The value is no plan, or the kernel cannot trap system calls.
pub(crate) fn inject_if_asked() -> io::Result<()> {
    let Some(plan) = std::env::var(PLAN).ok().filter(|plan| !plan.is_empty()) else {
        return Ok(());
    };
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{PLAN}: {error}"));
    karez_sys::faults::inject(&plan).map_err(named)
}
