//! Keeps keys out of core dumps: `/proc/self/coredump_filter` (core(5), Linux 2.6.23) excludes all private
//! memory that is not of a file, so heap and stacks. Keys, and their expanded forms inside ring and rustls,
//! are in no other.
//!
//! # Limitations
//!
//! The registers of each thread are dumped all the same. A debugger of the same user sees everything. Such a
//! dump has no stacks, so it says little about a crash. A system without /proc has no filter.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// No private anonymous memory (bit 0), no shared one (bit 1), and of files at most the headers (bit 4).
const FILTER: &str = "0x10";

/// Excludes the memory that may hold keys from core dumps, from now on. A second call does nothing, because a
/// sandbox may forbid to write the file.
///
/// # Errors
/// As those of the file.
pub(crate) fn exclude_memory() -> io::Result<()> {
    static DONE: AtomicBool = AtomicBool::new(false);
    if DONE.load(Ordering::Relaxed) {
        return Ok(());
    }
    fs::write("/proc/self/coredump_filter", FILTER)?;
    DONE.store(true, Ordering::Relaxed);
    Ok(())
}
