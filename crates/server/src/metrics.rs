//! Metrics of a server: counters that each thread has for itself and that a scrape adds up.
//!
//! A thread that serves connections or runs jobs leases a [`Shard`], in which it alone counts: by a load and a store,
//! without a locked instruction and on cache lines of its own. A shard goes back when its thread ends, and the next
//! thread counts on where it stands, because sums are what is read. Nothing allocates after the first response of a
//! kind (site, protocol, via).
//!
//! | file | content |
//! |---|---|
//! | `counter.rs`, `histogram.rs`, `shard.rs` | numbers of one thread |
//! | `lease.rs` | which shard a thread has |
//! | `hooks.rs` | the places of the server that count |
//! | `totals.rs`, `process.rs` | sums of all threads, and numbers of the process |
//! | `exposition.rs` | the text of a scrape (OpenMetrics 1.0) |
//! | `top_files.rs`, `rates.rs`, `page.rs` | the live page |
//! | `monitor.rs` | the listener |
//!
//! # Limitations
//!
//! A scrape reads while threads count, so its numbers are of slightly different moments. With model `blocking` each
//! thread of a connection has a shard, about 12 KiB. A body of several files has the label of the via that sent the
//! end of the last one.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use karez_transfer::set_observer;

use crate::log::Log;
use lock::lock;
use process::Process;
use shard::{SITES, Shard};

mod counter;
mod exposition;
mod histogram;
mod hooks;
mod lease;
mod lock;
mod monitor;
mod page;
mod process;
mod rates;
mod shard;
#[cfg(test)]
mod tests;
mod top_files;
mod totals;

pub(crate) use hooks::{
    ActiveConnection, CountedConnection, FileSource, FinishedExchange, InFlight, Queued,
    SiteMetrics, head_ready, watching,
};
#[cfg(feature = "tls")]
pub(crate) use hooks::{HandshakeAttempt, HandshakeKind};
pub use monitor::Monitor;

/// The metrics of a server. Clones count the same.
#[derive(Clone)]
pub struct Metrics(Arc<Registry>);

struct Registry {
    born: Instant,
    shards: Mutex<Shards>,
    /// The labels of the sites; the index is that in a shard.
    sites: Mutex<Vec<String>>,
    logs: Mutex<Vec<(&'static str, Log)>>,
    process: Process,
    /// Whether targets of requests are sampled, for the live page.
    samples: AtomicBool,
}

#[derive(Default)]
struct Shards {
    all: Vec<Arc<Shard>>,
    free: Vec<Arc<Shard>>,
}

impl Metrics {
    /// Returns metrics without a value. Opens files of proc(5) that tell the use of memory and descriptors, which are
    /// read at each scrape.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Registry {
            born: Instant::now(),
            shards: Mutex::default(),
            sites: Mutex::default(),
            logs: Mutex::default(),
            process: Process::open(),
            samples: AtomicBool::new(false),
        }))
    }

    /// Counts the dropped lines of a log, too.
    pub(crate) fn add_log(&self, name: &'static str, log: Log) {
        lock(&self.0.logs).push((name, log));
    }

    /// Counts fallbacks and page-ins of the process, unless an earlier server of the process does.
    pub(crate) fn observe_transfers(&self) {
        set_observer(Box::new(self.clone()));
    }

    /// Returns the metrics of a site. Sites of the same label are counted together, and so are those that are too
    /// many.
    pub(crate) fn site(&self, label: &str) -> SiteMetrics {
        let mut labels = lock(&self.0.sites);
        let known = labels.iter().position(|known| known == label);
        let index = known.unwrap_or_else(|| {
            if labels.len() < SITES {
                let label = if labels.len() + 1 < SITES { label } else { "other" };
                labels.push(label.to_owned());
            }
            labels.len() - 1
        });
        SiteMetrics::new(self.clone(), index)
    }

    fn samples_targets(&self) -> bool {
        self.0.samples.load(Ordering::Relaxed)
    }

    /// Takes a shard that no thread uses, or makes one.
    fn lease(&self) -> Arc<Shard> {
        let mut shards = lock(&self.0.shards);
        shards.free.pop().unwrap_or_else(|| {
            let shard = Arc::new(Shard::new());
            shards.all.push(Arc::clone(&shard));
            shard
        })
    }

    fn give_back(&self, shard: Arc<Shard>) {
        lock(&self.0.shards).free.push(shard);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
