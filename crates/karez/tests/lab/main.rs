//! The laboratory, by its library and by its command: counts, never times.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it skips"
)]

mod claims;
mod command;
mod exact;
mod models;
mod page;
mod topologies;
mod trace;
