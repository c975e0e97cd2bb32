//! HTTP/2 as a machine: frames go in, requests and frames come out.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod bodies;
mod conformance;
mod independent;
mod limits;
mod peer;
mod priorities;
mod sending;
mod shutdown;
mod sink;
mod splits;
mod sums;
