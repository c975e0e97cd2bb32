//! The figures of one timed run.

use serde_json::Value;
use std::collections::BTreeMap;

use super::fairness::{jain, min_max_ratio};

/// Figures of one run.
#[derive(Clone, Debug, Default)]
pub struct LoadSample {
    /// Duration in seconds.
    pub seconds: f64,
    /// Responses to fast clients.
    pub fast: ResponseStats,
    /// Responses to slow clients, whose latency is determined by the clients.
    pub slow: ResponseStats,
    /// Responses to blocking clients.
    pub blocking: ResponseStats,
    /// Nanoseconds of CPU time of the server's threads.
    pub cpu: f64,
    /// Nanoseconds of CPU time of the clients.
    pub clients_cpu: f64,
    /// Context switches of the server's threads because one blocked.
    pub voluntary: f64,
    /// Context switches because one was preempted.
    pub involuntary: f64,
    /// Number of the server's threads by name, at the end.
    pub threads: BTreeMap<String, u64>,
}

/// Responses to clients of one kind.
#[derive(Clone, Debug, Default)]
pub struct ResponseStats {
    /// Complete responses of each connection.
    pub by_connection: Vec<u64>,
    /// Received bytes, including incomplete responses.
    pub bytes: f64,
    /// Number of requests.
    pub requests: u64,
    /// Requests whose file was verified as not cached.
    pub seen_cold: u64,
    /// Median latency to the last byte, in microseconds.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// Maximum.
    pub max: f64,
}

impl LoadSample {
    /// Returns the complete responses of all kinds.
    #[must_use]
    pub fn responses(&self) -> f64 {
        self.fast.responses() + self.slow.responses() + self.blocking.responses()
    }

    /// Divides a number of the run by its complete responses, at least 1.
    #[must_use]
    pub fn per_response(&self, number: f64) -> f64 {
        number / self.responses().max(1.0)
    }

    /// Divides a number of the run by its duration in seconds.
    #[must_use]
    pub fn per_second(&self, number: f64) -> f64 {
        if self.seconds > 0.0 { number / self.seconds } else { 0.0 }
    }
}

impl ResponseStats {
    /// Returns the number of complete responses.
    #[must_use]
    pub fn responses(&self) -> f64 {
        self.by_connection.iter().map(|&count| small(count)).sum()
    }

    /// Returns Jain's fairness index over the connections.
    #[must_use]
    pub fn jain(&self) -> f64 {
        jain(&self.by_connection)
    }

    /// Returns the responses of the connection with the fewest, divided by those of the connection
    /// with the most.
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
