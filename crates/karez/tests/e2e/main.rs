//! End-to-end tests: the built binary over real sockets, in every layout.
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

mod access;
mod acme;
mod acme_renewal_info;
mod archives;
mod async_lookups;
mod bindfs;
mod cache_policies;
mod client;
mod client_limits;
mod clock_jumps;
mod cold_files;
mod command;
mod completions;
mod compression;
mod conditions;
mod configuration;
mod connection_limits;
mod container;
mod content_tags;
mod copy;
mod copy_attributes;
mod copy_edge_cases;
mod copy_fallback;
mod copy_holes;
mod copy_in_place;
mod copy_interrupted;
mod copy_interruptions;
mod copy_names;
mod copy_reflink;
mod copy_rejected_attributes;
mod copy_same_file;
mod copy_streams;
mod copy_sync;
mod copy_tree;
mod copy_truncation;
mod deadlines;
mod disk_image;
mod doctor;
mod documents;
mod environment;
mod error_pages;
mod explain;
mod exploits;
mod fault_injection;
#[cfg(feature = "fault-injection")]
mod fault_plans;
mod files;
mod freshness;
mod health;
mod hot_files;
mod http2_client;
mod http2_clients;
mod http2_ends;
mod http2_streams;
mod http2_table;
mod https;
mod https_bodies;
mod https_certificates;
mod https_clients;
mod https_connections;
mod https_http2;
mod hung_filesystem;
mod idle_eviction;
mod invalid_requests;
mod io_uring_denied;
mod kernel_tls;
mod layouts;
mod listing;
mod listing_memory;
mod load;
mod log_files;
mod log_formats;
mod logs;
mod memory_limit;
mod metrics;
mod pebble;
mod precompress;
mod precompressed;
mod programs;
mod protocol;
mod proxies;
mod ranges;
mod rate_limits;
mod real_clients;
mod reloads;
mod rename_races;
mod root_replacement;
mod rules;
mod sandbox;
mod server;
mod server_timing;
mod service_manager;
mod shutdown;
mod sites;
mod slow_disk;
mod socket;
mod strace;
mod substitute;
mod supervise;
mod suspended;
mod syscall_traces;
mod tcp_options;
mod threads;
mod three_sites;
mod timeouts;
mod torn_files;
mod units;
mod upgrade_load;
mod upgrades;
mod url_paths;
mod user_timeout;
mod validators;
mod wakeups;
