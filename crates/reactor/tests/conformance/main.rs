//! One suite for every model × topology: a task is served in the same way on all of them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it skips"
)]
#![allow(unreachable_pub, reason = "nothing of a test is reachable from outside")]

mod basics;
mod bounded;
mod costly;
mod crowds;
mod duplex;
mod fairness;
mod farewell;
mod forgotten;
mod jobs;
mod kernel_records;
mod local;
mod mail;
mod multiplex;
mod names;
mod overdue;
mod panics;
#[cfg(karez_realtime)]
mod realtime;
mod relay;
mod resets;
mod scripted_task;
mod sealed;
mod switched;
mod xor;
