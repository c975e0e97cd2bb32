//! The figures of one timed run.

use serde_json::Value;
use std::collections::BTreeMap;

use super::fairness::{jain, min_max_ratio};

/// What one run came to.
#[derive(Clone, Debug, Default)]
pub struct LoadSample {
    /// Seconds that it took.
    pub seconds: f64,
    /// What fast connections stats.
    pub fast: ResponseStats,
    /// What slow ones stats; how long they take is their own affair.
    pub slow: ResponseStats,
    /// What blocking ones stats.
    pub blocking: ResponseStats,
    /// Nanoseconds of CPU of the server's threads.
    pub cpu: f64,
    /// Nanoseconds of CPU of the clients.
    pub clients_cpu: f64,
    /// Context switches of the server's threads because one waited.
    pub voluntary: f64,
    /// Context switches because its time was over or another was more urgent.
    pub involuntary: f64,
    /// The server's threads at the end, by name.
    pub threads: BTreeMap<String, u64>,
}

/// What the connections of a kind stats.
#[derive(Clone, Debug, Default)]
pub struct ResponseStats {
    /// Whole answers of each connection.
    pub by_connection: Vec<u64>,
    /// Bytes, of whole answers and others.
    pub bytes: f64,
    /// How often they asked.
    pub requests: u64,
    /// How often a file was seen to be out of memory when it was asked for.
    pub seen_cold: u64,
    /// Microseconds until the last byte that half of the answers took at most.
    pub p50: f64,
    /// The same for 99 of 100.
    pub p99: f64,
    /// The same for 999 of 1,000.
    pub p999: f64,
    /// The same for all.
    pub max: f64,
}

impl LoadSample {
    /// Whole answers of every kind.
    #[must_use]
    pub fn responses(&self) -> f64 {
        self.fast.responses() + self.slow.responses() + self.blocking.responses()
    }

    /// A number of the run for each of its whole answers; of none, for one.
    #[must_use]
    pub fn per_response(&self, number: f64) -> f64 {
        number / self.responses().max(1.0)
    }

    /// A number of the run for each of its seconds.
    #[must_use]
    pub fn per_second(&self, number: f64) -> f64 {
        if self.seconds > 0.0 { number / self.seconds } else { 0.0 }
    }
}

impl ResponseStats {
    /// Whole answers.
    #[must_use]
    pub fn responses(&self) -> f64 {
        self.by_connection.iter().map(|&count| small(count)).sum()
    }

    /// How alike the connections were served: Jain's index.
    #[must_use]
    pub fn jain(&self) -> f64 {
        jain(&self.by_connection)
    }

    /// What the connection with the fewest answers stats of what the one with the most stats.
    #[must_use]
    pub fn min_max_ratio(&self) -> f64 {
        min_max_ratio(&self.by_connection)
    }

    pub(super) fn of(reply: &Value) -> Self {
        let times = &reply["nanoseconds"];
        let microseconds = |name: &str| times[name].as_f64().unwrap_or(0.0) / 1000.0;
        let by_connection = reply["responses"].as_array().into_iter().flatten();
        Self {
            by_connection: by_connection.filter_map(Value::as_u64).collect(),
            bytes: reply["bytes"].as_f64().unwrap_or(0.0),
            requests: reply["requests"].as_u64().unwrap_or(0),
            seen_cold: reply["evicted"].as_u64().unwrap_or(0),
            p50: microseconds("p50"),
            p99: microseconds("p99"),
            p999: microseconds("p999"),
            max: microseconds("max"),
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts and times of a short run")]
pub(super) fn small(number: u64) -> f64 {
    number as f64
}
