//! One combination of a layout and clients, with its timed runs.

use karez_reactor::{Model, Topology};
use std::collections::BTreeMap;

use super::plan::ClientMix;
use super::sample::{LoadSample, ResponseStats};
use crate::stats::MedianRange;

/// One combination and its timed runs.
#[derive(Clone, Debug)]
pub struct TopologyRow {
    /// The server's I/O model.
    pub model: Model,
    /// The topology.
    pub topology: Topology,
    /// The clients.
    pub clients: ClientMix,
    /// The timed runs.
    pub timed: Vec<LoadSample>,
}

impl TopologyRow {
    /// Summarises a figure over the runs.
    #[must_use]
    pub fn median_range(&self, figure: impl Fn(&LoadSample) -> f64) -> MedianRange {
        MedianRange::of(self.timed.iter().map(figure))
    }

    /// Summarises a figure of one kind of clients over the runs with responses; `None` if there are
    /// none.
    #[must_use]
    pub fn latency(
        &self,
        kind: fn(&LoadSample) -> &ResponseStats,
        figure: impl Fn(&ResponseStats) -> f64,
    ) -> Option<MedianRange> {
        let stats = self
            .timed
            .iter()
            .map(kind)
            .filter(|stats| stats.by_connection.iter().any(|&one| one > 0));
        let figures: Vec<_> = stats.map(figure).collect();
        (!figures.is_empty()).then(|| MedianRange::of(figures))
    }

    /// Returns the threads of the run that had most, by name.
    #[must_use]
    pub fn threads(&self) -> BTreeMap<String, u64> {
        let most = self.timed.iter().max_by_key(|run| run.threads.values().sum::<u64>());
        most.map(|run| run.threads.clone()).unwrap_or_default()
    }

    pub(super) fn name(&self) -> String {
        let Self { model, topology, clients, .. } = self;
        format!("{model} × {topology}, {}", clients.name())
    }
}
