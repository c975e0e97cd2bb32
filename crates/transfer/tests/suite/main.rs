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

mod cache;
mod case;
mod chance;
mod changing;
mod choice;
mod denied;
mod edits;
mod exact;
mod ladder;
mod netns;
mod peers;
mod pipes;
mod pools;
mod refusals;
mod rude;
mod stage;
mod trace;
mod tracer;
mod zerocopy;
