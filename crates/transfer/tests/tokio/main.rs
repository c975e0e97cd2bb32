//! Transfers on tokio: every byte arrives, whatever is dropped and however slow the peer is.
#![cfg(feature = "tokio")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking and says what it skips"
)]

mod cancel;
mod exact;
mod misses;
mod pairs;
mod polling;
mod proxies;
mod sockets;
mod stops;
mod zerocopy;
