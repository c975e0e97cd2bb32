//! Tests of the laboratory through its library and its command: counts, no times.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it skips"
)]

mod all_and_compare;
mod book;
mod claims;
mod exact_counts;
mod exercise;
mod models;
mod selftest;
mod shared;
mod topologies;
mod trace;
mod verdicts;

use std::process::Command;

/// The program under test.
const KAREZ: &str = env!("CARGO_BIN_EXE_karez");

/// Starts the program under test with English reports.
fn karez() -> Command {
    let mut command = Command::new(KAREZ);
    command.env("LC_ALL", "C");
    command
}
