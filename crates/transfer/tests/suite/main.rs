//! One suite for every via and direction: what is listed in `Direction::vias` is tested here.
//!
//! Chance is seeded, and says how to have it again; nothing waits for time.
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
mod chance;
mod changing;
mod choice;
mod denied;
mod edits;
mod exact;
#[path = "../../../karez/tests/e2e/image.rs"]
#[expect(dead_code, reason = "other tests make images in memory")]
mod image;
mod ladder;
mod netns;
mod peers;
mod pipes;
mod pools;
mod refusals;
mod rude;
mod shared;
mod sigpipe;
mod stage;
mod trace;
mod tracer;
mod zerocopy;
mod zeros;
