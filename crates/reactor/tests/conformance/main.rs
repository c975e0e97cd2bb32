//! One suite for every model × topology: a wish is granted in the same way on all of them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it skips"
)]
#![allow(unreachable_pub, reason = "nothing of a test is reachable from outside")]

mod crowds;
mod jobs;
mod mail;
mod names;
mod overdue;
mod puppet;
#[cfg(karez_realtime)]
mod realtime;
mod relay;
mod wishes;
