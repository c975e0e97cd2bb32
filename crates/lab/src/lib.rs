//! The laboratory: what each way of Linux I/O costs on the reader's own kernel, counted and not
//! estimated.
//!
//! It runs the transfers of `karez-transfer`, the same that the server makes: there is no second
//! implementation that could behave better. A [`Stage`] is a sender and a receiver, processes of
//! their own on cores of their own, with a [`Transport`] between them; a [`Movement`] of a file
//! ([`Ground`]) through it comes to an [`Outcome`].
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
//! use karez_lab::{Cache, Copies, Ground, Movement, Stage, Transport, Workers};
//! use karez_transfer::Via;
//! use std::path::Path;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A worker is a program that calls `karez_lab::work()`; the command line of karez is one.
//! let workers = Workers::new("karez", ["lab", "worker"]);
//! let ground = Ground::new(Path::new("/var/tmp"), 64 << 20)?;
//! ground.prepare(Cache::Warm)?;
//!
//! let mut counters = Counters::attach(&Scope::default())?;
//! let mut stage = Stage::set(&workers, Transport::Loopback)?;
//! let movement = Movement::of(&ground, Via::Sendfile, Some(64 << 10));
//! let outcome = stage.run(&movement, &ground, Some(&mut counters))?;
//!
//! let copies = Copies::of(&outcome, Transport::Loopback);
//! assert_eq!(copies.before_receiver(), 0);
//! assert_eq!(outcome.sent_by().map(|sender| sender.call("sendfile").calls), Some(1024));
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
mod cost;
mod crew;
mod draw;
mod error;
mod fit;
mod ground;
mod machine;
pub mod models;
mod movement;
mod mutation;
mod outcome;
mod page;
pub mod probe;
mod report;
mod rest;
mod schema;
pub mod selftest;
mod spread;
mod stage;
mod table;
mod tier;
pub mod topologies;
pub mod trace;
mod transport;
pub mod vias;

pub use cost::{Copies, contradictions};
pub use crew::{Workers, work};
pub use error::{Error, Result};
pub use fit::Slope;
pub use ground::{Cache, Ground};
pub use movement::Movement;
pub use mutation::{Fate, Mutation, fate, mutations};
pub use outcome::{Outcome, Used};
pub use page::page;
pub use report::{Entry, Part, Report, Section, Table};
pub use schema::SCHEMAS;
pub use spread::Spread;
pub use stage::Stage;
pub use tier::{Tier, Tiers};
pub use transport::{Taking, Transport};
