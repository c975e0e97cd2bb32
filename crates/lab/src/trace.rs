//! `karez lab trace`: one real request, from the wake-up of the server to the last byte at the
//! receiver: user space, system calls, the kernel, devices.
//!
//! One worker runs the code of `karez serve`, another is the client; it sends a warm-up request and
//! a traced one. BPF programs report each event (T1), or ptrace reports the system calls if BPF is
//! not permitted (T0).
//!
//! # Limitations
//! Tracing slows the request down, ptrace many times, so only the proportions of its parts are
//! meaningful. Copies in the kernel are not observed but derived from the provenance of sent pages
//! and from the results of system calls.

mod event;
mod narrate;
mod recorder;
mod render;
mod run;
mod steps;
mod summary;
mod svg;
mod syscalls;
mod text_timeline;
mod totals;

pub use event::{Event, EventKind, Lane, Memory, TracedCall, WakeSource};
pub use narrate::Thread;
pub use totals::{CallTotals, Totals};

use karez_reactor::{Model, Topology};
use karez_transfer::Via;
use std::path::{Path, PathBuf};

use crate::test_file::CacheState;
use crate::tier::Tier;
use crate::transport::Transport;
use crate::workers::WorkerCommand;

/// Parameters of a trace.
#[derive(Clone, Debug)]
pub struct TracePlan {
    /// How to start workers.
    pub workers: WorkerCommand,
    /// The server's I/O model.
    pub model: Model,
    /// The via.
    pub via: Via,
    /// The topology.
    pub topology: Topology,
    /// The transport: a UNIX socket or loopback.
    pub transport: Transport,
    /// The file to request; `None` for a file of the laboratory.
    pub file: Option<PathBuf>,
    /// Directory of that file, on a disk.
    pub directory: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its cache state. A given file is not changed.
    pub cache: CacheState,
    /// A BPF object instead of the built-in one.
    pub object: Option<PathBuf>,
    /// Width of the terminal text in columns.
    pub width: usize,
}

impl TracePlan {
    /// Creates parameters for 1 MiB, cached, over loopback, with one reactor.
    #[must_use]
    pub fn new(workers: WorkerCommand, model: Model, via: Via, directory: &Path) -> Self {
        Self {
            workers,
            model,
            via,
            topology: Topology::Single,
            transport: Transport::Loopback,
            file: None,
            directory: directory.to_owned(),
            bytes: 1 << 20,
            cache: CacheState::Warm,
            object: None,
            width: 80,
        }
    }
}

/// A traced request.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The tier.
    pub tier: Tier,
    /// Why T1 is unavailable.
    pub without_t1: Option<String>,
    /// Tracepoints that this kernel lacks.
    pub missing: Vec<&'static str>,
    /// The server's I/O model.
    pub model: Model,
    /// The requested via.
    pub via: Via,
    /// The via that the model uses for it.
    pub effective_via: Via,
    /// The topology.
    pub topology: Topology,
    /// The transport.
    pub transport: Transport,
    /// Cached pages of the file before the request, and all pages.
    pub pages: (u64, u64),
    /// Width of the terminal text in columns.
    pub width: usize,
    /// Number of traced requests; this is the fastest one without contradictions.
    pub tries: u32,
    /// Bytes of the response head.
    pub head: u64,
    /// Bytes of the response body.
    pub body: u64,
    /// Nanoseconds from the wake-up to the last byte at the receiver.
    pub took: i64,
    /// Start of the request relative to the wake-up, in nanoseconds.
    pub asked: i64,
    /// Number of lost events.
    pub lost: u64,
    /// The threads involved.
    pub threads: Vec<Thread>,
    /// The events, ordered by start.
    pub events: Vec<Event>,
    /// The totals.
    pub totals: Totals,
}
