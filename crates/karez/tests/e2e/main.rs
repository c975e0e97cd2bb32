//! End to end: the built binary over real sockets, on every way there is.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]
#![allow(unreachable_pub, reason = "nothing of a test is reachable from outside")]

mod bindfs;
mod client;
mod cold;
mod command;
mod completions;
mod conditions;
mod copy;
mod copy_attributes;
mod copy_holes;
mod copy_in_place;
mod copy_interrupted;
mod copy_interruptions;
mod copy_ladder;
mod copy_names;
mod copy_odd;
mod copy_reflink;
mod copy_refused;
mod copy_same;
mod copy_short;
mod copy_streams;
mod copy_sync;
mod copy_tree;
mod crowds;
mod deadlines;
mod denied;
mod doctor;
mod environment;
mod explain;
mod faults;
mod files;
mod freshness;
mod hung;
mod image;
mod layouts;
mod listing;
mod logs;
mod lookups;
mod names;
mod patience;
mod precompressed;
mod pressure;
mod protocol;
mod race;
mod ranges;
mod real;
mod refused;
mod roots;
mod server;
mod server_timing;
mod stamping;
mod stopping;
mod strace;
mod suspended;
mod traces;
mod validators;
mod wakeups;
mod ways;
