//! The laboratory: measures what each method of Linux I/O costs on the reader's own kernel, by
//! counting instead of estimating.
//!
//! It runs the transfers of `karez-transfer`, the same code that the server runs. A [`TestBed`] is
//! a sender process and a receiver process, each pinned to its own core, connected by a
//! [`Transport`]. Running a [`TransferSpec`] of a [`TestFile`] on it gives a [`TransferOutcome`].
//!
//! # Counters
//!
//! | tier | needs | provides |
//! |---|---|---|
//! | T0 | nothing | the transfer's own call counts, rusage, zero-copy notifications, [the mutation probe](mutations) |
//! | T1 | root, or `cap_bpf` and `cap_perfmon`; BTF | [`probe::Counters`]: system calls, switches, faults, bytes by provenance, disk I/O |
//! | T3 | T1, and fexit permitted | bytes that `filemap_read` copied, as a second source |
//!
//! A copy cannot be observed directly, because the copying functions cannot be hooked. Instead the
//! counters classify the pages of each packet when a driver takes it over: pages of the page cache
//! have not been copied; pages of the kernel have been filled by the CPU.
//!
//! ```no_run
//! use karez_lab::probe::{Counters, Scope};
//! use karez_lab::{CacheState, Copies, TestBed, TestFile, TransferSpec, Transport, WorkerCommand};
//! use karez_transfer::Via;
//! use std::path::Path;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A worker is a program that calls `karez_lab::work()`; the command line of karez is one.
//! let workers = WorkerCommand::new("karez", ["lab", "worker"]);
//! let file = TestFile::new(Path::new("/var/tmp"), 64 << 20)?;
//! file.prepare(CacheState::Warm)?;
//!
//! let mut counters = Counters::attach(&Scope::default())?;
//! let mut bed = TestBed::set_up(&workers, Transport::Loopback)?;
//! let spec = TransferSpec::of(&file, Via::Sendfile, Some(64 << 10));
//! let outcome = bed.run(&spec, &file, Some(&mut counters))?;
//!
//! let copies = Copies::of(&outcome, Transport::Loopback);
//! assert_eq!(copies.before_receiver(), 0);
//! assert_eq!(outcome.sender_counts().map(|sender| sender.call("sendfile").calls), Some(1024));
//! # Ok(())
//! # }
//! ```
//!
//! # Validation
//!
//! [`selftest::SelfTest`] checks every counter against known workloads, including positive
//! controls, and [`contradictions`] compares the counts with the guarantees of each via.
//! [`vias::Vias`] counts and times in separate passes and omits figures of counters that failed the
//! self-test.
//!
//! [`models::Models`] and [`topologies::Topologies`] measure waiting: they run a reactor of
//! `karez-reactor`, or the file server on it, as a worker process, with clients on another core.
//!
//! [`trace::Trace`] records one real request event by event, from the wake-up of the server to the
//! last byte at the receiver, and draws it.
//!
//! # Limitations
//! Not visible are copies in user space, copies in a driver, and DMA to a network; no transport
//! here has the latter.

pub mod all;
pub mod book;
mod chart;
pub mod claims;
pub mod compare;
mod copies;
mod error;
mod escape;
pub mod exercise;
mod html;
mod language;
mod machine;
pub mod models;
mod mutation;
pub mod probe;
mod quiescence;
mod regression;
mod report;
mod rng;
mod schema;
pub mod selftest;
mod stats;
mod svg;
mod table;
mod test_bed;
mod test_file;
mod tier;
pub mod topologies;
pub mod trace;
mod transfer_outcome;
mod transfer_spec;
mod transport;
pub mod vias;
mod workers;

pub use copies::{Copies, contradictions};
pub use error::{Error, Result};
pub use html::html_page;
pub use language::{Language, in_language};
pub use mutation::{CopyVerdict, Mutation, mutation_probe, mutations};
pub use regression::Slope;
pub use report::{Part, Report, ReportEntry, Section, Table};
pub use schema::SCHEMAS;
pub use stats::MedianRange;
pub use test_bed::TestBed;
pub use test_file::{CacheState, TestFile};
pub use tier::{Tier, Tiers};
pub use transfer_outcome::{ResourceUsage, TransferOutcome};
pub use transfer_spec::TransferSpec;
pub use transport::{ReceiveMode, Transport};
pub use workers::{WorkerCommand, work};
