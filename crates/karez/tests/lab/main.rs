//! Tests of the laboratory through its library and its command: counts, no times.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it skips"
)]

mod all_and_compare;
mod claims;
mod exact_counts;
mod models;
mod selftest;
mod topologies;
mod trace;
