//! `karez lab trace`: one real request, from the wake-up of the server to the last byte at the
//! receiver, as it happened: user space, system calls, the kernel, devices.
//!
//! A worker serves by the code of `karez serve`, another asks: once to warm up, once to be watched.
//! The kernel tells each event through BPF programs (T1), or, where that is not permitted, ptrace
//! tells the system calls (T0).
//!
//! EventKind it does badly: a request that is watched takes longer than one that is not, by ptrace many
//! times as long, so the times are for comparing its parts; what the kernel copies is not seen but
//! told by where the bytes lie when they leave, and by the answers of the calls.

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

/// EventKind is to be traced.
#[derive(Clone, Debug)]
pub struct TracePlan {
    /// How to start workers.
    pub workers: WorkerCommand,
    /// How the server waits.
    pub model: Model,
    /// How the file leaves.
    pub via: Via,
    /// How its threads are laid out.
    pub topology: Topology,
    /// Over what: a UNIX socket or loopback.
    pub transport: Transport,
    /// A file to ask for; `None` for one of the laboratory's own.
    pub file: Option<PathBuf>,
    /// Where that is made: on a disk.
    pub directory: PathBuf,
    /// How large it is, in bytes.
    pub bytes: u64,
    /// Whether it is in memory. A file that is given is left as it is.
    pub cache: CacheState,
    /// Watch with this BPF object instead of the one built in.
    pub object: Option<PathBuf>,
    /// How many columns the terminal has that the text is for.
    pub width: usize,
}

impl TracePlan {
    /// 1 MiB in memory, over loopback, by one reactor.
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

/// One request as it happened.
#[derive(Clone, Debug)]
pub struct Trace {
    /// How exactly it was seen.
    pub tier: Tier,
    /// Why not more exactly.
    pub without_t1: Option<String>,
    /// Tracepoints that this kernel does not have.
    pub missing: Vec<&'static str>,
    /// How the server waited.
    pub model: Model,
    /// EventKind was asked for.
    pub via: Via,
    /// EventKind the model grants of it.
    pub effective_via: Via,
    /// How its threads were laid out.
    pub topology: Topology,
    /// Over what.
    pub transport: Transport,
    /// Pages of the file that were in memory before, and all.
    pub pages: (u64, u64),
    /// How many columns wide its text is for a terminal.
    pub width: usize,
    /// How many requests were watched; this is the quickest that does not contradict itself.
    pub tries: u32,
    /// Bytes of the head of the answer.
    pub head: u64,
    /// Bytes of its body.
    pub body: u64,
    /// Nanoseconds from the wake-up to the last byte at the receiver.
    pub took: i64,
    /// Nanoseconds before the wake-up at which the receiver began to ask.
    pub asked: i64,
    /// Events that did not fit.
    pub lost: u64,
    /// Who took part.
    pub threads: Vec<Thread>,
    /// EventKind happened, in the order in which it began.
    pub events: Vec<Event>,
    /// EventKind it comes to.
    pub totals: Totals,
}
