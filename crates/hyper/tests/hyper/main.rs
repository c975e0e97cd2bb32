//! Bodies under hyper: every via, keep-alive, pipelining, chunked, HTTP/2, and what goes wrong.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking and says what it skips"
)]

#[cfg(all(feature = "axum", feature = "serve-dir"))]
mod axum_server;
mod bodies;
#[cfg(feature = "serve-dir")]
mod directories;
mod failures;
mod server;
mod tower_cases;
