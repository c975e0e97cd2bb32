//! The laboratory: what each way of Linux I/O costs on the reader's own kernel, counted and not
//! estimated.
//!
//! It runs the transfers of `karez-transfer`, the same that the server makes: there is no second
//! implementation that could behave better. A [`TestBed`] is a sender and a receiver, processes of
//! their own on cores of their own, with a [`Transport`] between them; a [`TransferSpec`] of a file
//! ([`TestFile`]) through it comes to an [`TransferOutcome`].
//!
//! # How it counts
//!
//! | tier | needs | gives |
//! |---|---|---|
//! | T0 | nothing | the transfer's own calls, what threads used, notifications, [the mutation probe](mutations) |
//! | T1 | root, or `cap_bpf` and `cap_perfmon`; BTF | [`probe::Counters`]: calls, switches, faults, bytes by provenance, the disk |
//! | T3 | T1, and fexit permitted | what `filemap_read` copied, as a second opinion |
//!
//! A copy is not seen happening, for the functions that copy cannot be hooked. What is seen is
//! where the pages of a packet come from when a driver takes it over: from the page cache of the
//! file, and nobody has copied it; from the kernel's own pages, and the CPU has put it there.
//!
//! ```no_run
//! use karez_lab::probe::{Counters, Scope};
//! use karez_lab::{CacheState, Copies, TestFile, TransferSpec, TestBed, Transport, WorkerCommand};
//! use karez_transfer::Via;
//! use std::path::Path;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A worker is a program that calls `karez_lab::work()`; the command line of karez is one.
//! let workers = WorkerCommand::new("karez", ["lab", "worker"]);
//! let test_file = TestFile::new(Path::new("/var/tmp"), 64 << 20)?;
//! test_file.prepare(CacheState::Warm)?;
//!
//! let mut counters = Counters::attach(&Scope::default())?;
//! let mut bed = TestBed::set_up(&workers, Transport::Loopback)?;
//! let spec = TransferSpec::of(&test_file, Via::Sendfile, Some(64 << 10));
//! let outcome = bed.run(&spec, &test_file, Some(&mut counters))?;
//!
//! let copies = Copies::of(&outcome, Transport::Loopback);
//! assert_eq!(copies.before_receiver(), 0);
//! assert_eq!(outcome.sender_counts().map(|sender| sender.call("sendfile").calls), Some(1024));
//! # Ok(())
//! # }
//! ```
//!
//! # Whether to believe it
//!
//! [`selftest::SelfTest`] gives each counter what is known beforehand, with positive controls, and
//! [`contradictions`] holds what was counted against what a via promises. [`vias::Vias`] counts and
//! times every way in separate passes, and leaves out what the self-test does not vouch for.
//!
//! [`models::Models`] and [`topologies::Topologies`] are about who waits: a reactor of
//! `karez-reactor`, and the file server on it, are workers too, with clients on a core of their own.
//!
//! [`trace::Trace`] counts nothing: it tells one real request, event by event, from the wake-up of
//! the server to the last byte at the receiver, and draws it.
//!
//! What none of it can see: a copy in user space, a copy by a driver, and DMA to a network, of
//! which no transport here has any.

pub mod all;
mod chart;
pub mod claims;
pub mod compare;
mod copies;
mod error;
mod html;
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
