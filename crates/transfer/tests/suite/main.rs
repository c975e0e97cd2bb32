//! One suite for every via and direction: all of `Direction::vias` are tested here.
//!
//! Random numbers are seeded, and failures print the seed; no test waits for time.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    unreachable_pub,
    reason = "a test fails by panicking and says what it skips"
)]

mod appending;
mod cache;
mod case;
mod changing;
mod choice;
mod edits;
mod exact;
mod fallback;
mod hostile_peers;
#[path = "../../../karez/tests/e2e/disk_image.rs"]
#[expect(dead_code, reason = "other tests make images in memory")]
mod image;
mod netns;
mod peers;
mod pipes;
mod pools;
mod random;
mod refusals;
mod sandbox;
mod shared;
mod sigpipe;
mod stage;
mod trace;
mod tracer;
mod zerocopy;
mod zeros;
