//! The figures of one timed run.

use serde_json::Value;
use std::collections::BTreeMap;

use super::fairness::{jain, least_of_most};

/// What one run came to.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Seconds that it took.
    pub seconds: f64,
    /// What fast connections had.
    pub fast: Answers,
    /// What slow ones had; how long they take is their own affair.
    pub slow: Answers,
    /// What blocking ones had.
    pub blocking: Answers,
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

/// What the connections of a kind had.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// Whole answers of each connection.
    pub each: Vec<u64>,
    /// Bytes, of whole answers and others.
    pub bytes: f64,
    /// How often they asked.
    pub asked: u64,
    /// How often a file was seen to be out of memory when it was asked for.
    pub cold: u64,
    /// Microseconds until the last byte that half of the answers took at most.
    pub p50: f64,
    /// The same for 99 of 100.
    pub p99: f64,
    /// The same for 999 of 1,000.
    pub p999: f64,
    /// The same for all.
    pub max: f64,
}

impl Sample {
    /// Whole answers of every kind.
    #[must_use]
    pub fn answers(&self) -> f64 {
        self.fast.answers() + self.slow.answers() + self.blocking.answers()
    }

    /// A number of the run for each of its whole answers; of none, for one.
    #[must_use]
    pub fn per_answer(&self, number: f64) -> f64 {
        number / self.answers().max(1.0)
    }

    /// A number of the run for each of its seconds.
    #[must_use]
    pub fn per_second(&self, number: f64) -> f64 {
        if self.seconds > 0.0 { number / self.seconds } else { 0.0 }
    }
}

impl Answers {
    /// Whole answers.
    #[must_use]
    pub fn answers(&self) -> f64 {
        self.each.iter().map(|&count| small(count)).sum()
    }

    /// How alike the connections were served: Jain's index.
    #[must_use]
    pub fn jain(&self) -> f64 {
        jain(&self.each)
    }

    /// What the connection with the fewest answers had of what the one with the most had.
    #[must_use]
    pub fn least_of_most(&self) -> f64 {
        least_of_most(&self.each)
    }

    pub(super) fn of(told: &Value) -> Self {
        let times = &told["nanoseconds"];
        let microseconds = |name: &str| times[name].as_f64().unwrap_or(0.0) / 1000.0;
        let each = told["responses"].as_array().into_iter().flatten();
        Self {
            each: each.filter_map(Value::as_u64).collect(),
            bytes: told["bytes"].as_f64().unwrap_or(0.0),
            asked: told["requests"].as_u64().unwrap_or(0),
            cold: told["evicted"].as_u64().unwrap_or(0),
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
