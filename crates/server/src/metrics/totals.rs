//! The numbers of all threads.

use std::array;
use std::collections::{BTreeMap, HashMap};

use karez_http::Status;
use karez_transfer::Via;

use super::Metrics;
use super::counter::Counter;
use super::histogram::HistogramTotal;
use super::lock::lock;
use super::shard::{PROTOCOLS, Shard, via_name};
use crate::closing::CloseReason;

/// The kind of a response: the label of its site, its protocol and its via.
pub(super) type Kind = (String, &'static str, &'static str);

/// The numbers of all threads.
#[derive(Default)]
pub(super) struct Totals {
    pub(super) accepted: u64,
    pub(super) closed: [u64; CloseReason::ALL.len()],
    pub(super) active: u64,
    pub(super) in_flight: u64,
    pub(super) files: [u64; 3],
    pub(super) watched: u64,
    pub(super) jobs: u64,
    pub(super) jobs_queued: u64,
    pub(super) jobs_running: u64,
    pub(super) handshakes: [u64; 3],
    pub(super) heads: [HistogramTotal; PROTOCOLS.len()],
    pub(super) wholes: [HistogramTotal; PROTOCOLS.len()],
    pub(super) page_ins: HistogramTotal,
    pub(super) page_in_bytes: u64,
    /// From a via to another.
    pub(super) fallbacks: BTreeMap<(&'static str, &'static str), u64>,
    /// By status.
    pub(super) responses: BTreeMap<(Kind, u16), u64>,
    /// Bytes of bodies.
    pub(super) bytes: BTreeMap<Kind, u64>,
}

impl Metrics {
    /// Adds up the numbers of all threads.
    pub(super) fn totals(&self) -> Totals {
        let shards = lock(&self.0.shards).all.clone();
        let sites = lock(&self.0.sites).clone();
        let mut totals = Totals::default();
        for (from, to) in Via::ALL.iter().filter_map(|via| Some((*via, via.fallback()?))) {
            totals.fallbacks.insert((from.name(), to.name()), 0);
        }
        shards.iter().for_each(|shard| totals.add(shard, &sites));
        totals.settle();
        totals
    }

    /// Returns the most requested targets and their counts, and the count of all.
    pub(super) fn top_files(&self) -> (Vec<(Vec<u8>, u64)>, u64) {
        let shards = lock(&self.0.shards).all.clone();
        let mut counts = HashMap::new();
        let totals = shards.iter().map(|shard| lock(&shard.top_files).add_to(&mut counts));
        let total = totals.sum();
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        (counts, total)
    }

    /// Halves the counts of targets.
    pub(super) fn fade_top_files(&self) {
        let shards = lock(&self.0.shards).all.clone();
        shards.iter().for_each(|shard| lock(&shard.top_files).fade());
    }
}

impl Totals {
    fn add(&mut self, shard: &Shard, sites: &[String]) {
        let gauges = [
            (&mut self.accepted, &shard.accepted),
            (&mut self.active, &shard.active),
            (&mut self.in_flight, &shard.in_flight),
            (&mut self.watched, &shard.watched),
            (&mut self.jobs, &shard.jobs),
            (&mut self.jobs_queued, &shard.jobs_queued),
            (&mut self.jobs_running, &shard.jobs_running),
            (&mut self.page_in_bytes, &shard.page_in_bytes),
        ];
        for (total, counter) in gauges {
            *total = total.wrapping_add(counter.get());
        }
        add_all(&mut self.closed, &shard.closed);
        add_all(&mut self.files, &shard.files);
        add_all(&mut self.handshakes, &shard.handshakes);
        self.page_ins.add(&shard.page_ins);
        for protocol in 0..PROTOCOLS.len() {
            self.heads[protocol].add(&shard.heads[protocol]);
            self.wholes[protocol].add(&shard.wholes[protocol]);
        }
        for from in Via::ALL {
            for to in Via::ALL {
                let count = shard.fallbacks(*from, *to);
                if count > 0 {
                    *self.fallbacks.entry((from.name(), to.name())).or_default() += count;
                }
            }
        }
        self.add_responses(shard, sites);
    }

    fn add_responses(&mut self, shard: &Shard, sites: &[String]) {
        for ((site, protocol, via), responses) in shard.all_responses() {
            let label = sites.get(site).cloned().unwrap_or_default();
            let kind = (label, PROTOCOLS[protocol].1, via_name(via));
            for (status, counter) in Status::ALL.iter().zip(&responses.statuses) {
                if counter.get() > 0 {
                    let key = (kind.clone(), status.code());
                    *self.responses.entry(key).or_default() += counter.get();
                }
            }
            *self.bytes.entry(kind).or_default() += responses.bytes.get();
        }
    }

    /// Corrects gauges whose parts were read at different moments, so that one may have come out below 0.
    fn settle(&mut self) {
        for gauge in
            [&mut self.active, &mut self.in_flight, &mut self.jobs_queued, &mut self.jobs_running]
        {
            if *gauge > u64::MAX / 2 {
                *gauge = 0;
            }
        }
    }

    /// Returns the number of open connections.
    pub(super) fn open(&self) -> u64 {
        self.accepted.saturating_sub(self.closed.iter().sum())
    }

    /// Returns the number of open connections without a request.
    pub(super) fn idle(&self) -> u64 {
        self.open().saturating_sub(self.active)
    }

    /// Returns the number of all responses.
    pub(super) fn requests(&self) -> u64 {
        self.responses.values().sum()
    }

    /// Returns the bytes of all bodies.
    pub(super) fn sent(&self) -> u64 {
        self.bytes.values().sum()
    }

    /// Returns the times to the last byte, of all protocols.
    pub(super) fn whole(&self) -> HistogramTotal {
        let mut whole = HistogramTotal::default();
        self.wholes.iter().for_each(|of_protocol| whole.merge(of_protocol));
        whole
    }
}

fn add_all<const N: usize>(totals: &mut [u64; N], counters: &[Counter; N]) {
    let sums: [u64; N] = array::from_fn(|index| totals[index].wrapping_add(counters[index].get()));
    *totals = sums;
}
