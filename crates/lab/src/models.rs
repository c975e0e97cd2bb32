//! `karez lab models`: the cost of waiting with each readiness model, by number of descriptors and
//! number of active descriptors.
//!
//! Counting and timing are separate passes: each combination runs once under ptrace, which sees
//! every system call, then several times without it, in random order; the first run of each is
//! discarded.
//!
//! Wake-ups are measured on the selectors alone. Requests are measured on a whole reactor of each
//! model (`models/requests.rs`).
//!
//! # Limitations
//! For a wake-up the same thread writes and waits, so no thread sleeps. Descriptors are eventfds,
//! or UNIX sockets if a model cannot watch those, not connections.

mod charts;
mod echo_setup;
mod plan;
mod render;
mod request_table;
mod requests;
mod tables;

pub(crate) use echo_setup::EchoSetup;
pub use plan::ModelsPlan;
pub use requests::{RequestRow, RequestSample};

use karez_reactor::Model;
use serde_json::{Value, json};
use std::collections::BTreeMap;

use crate::error::Result;
use crate::regression::Slope;
use crate::rng::Rng;
use crate::stats::MedianRange;
use crate::workers::Worker;
use echo_setup::ratio;

/// The models that are selectors.
pub const MODELS: [Model; 7] = [
    Model::Nonblocking,
    Model::Select,
    Model::Poll,
    Model::EpollLevel,
    Model::EpollEdge,
    Model::Signal,
    Model::LinuxAio,
];

/// Counted rounds; all rounds make the same calls.
const COUNTED_ROUNDS: u64 = 2;

/// One combination and its cost.
#[derive(Clone, Debug)]
pub struct WaitRow {
    /// The model.
    pub model: Model,
    /// Number of descriptors.
    pub descriptors: u32,
    /// Number of active descriptors.
    pub active: u32,
    /// System calls per wake-up by name, without those that make descriptors ready; `None` if
    /// tracing is not permitted.
    pub calls: Option<BTreeMap<String, f64>>,
    /// The timed runs.
    pub timed: Vec<WaitSample>,
}

/// One timed run.
#[derive(Clone, Copy, Debug)]
pub struct WaitSample {
    /// Number of wake-ups.
    pub rounds: u64,
    /// Microseconds per wake-up, from the wait to the last read.
    pub wait_time: f64,
    /// Microseconds of CPU time per wake-up, including the writes.
    pub cpu: f64,
}

impl WaitRow {
    /// Returns the microseconds per wake-up.
    #[must_use]
    pub fn wait_time(&self) -> MedianRange {
        MedianRange::of(self.timed.iter().map(|run| run.wait_time))
    }

    /// Returns the microseconds of CPU time per wake-up.
    #[must_use]
    pub fn cpu(&self) -> MedianRange {
        MedianRange::of(self.timed.iter().map(|run| run.cpu))
    }

    /// Returns the number of system calls per wake-up.
    #[must_use]
    pub fn total_calls(&self) -> Option<f64> {
        self.calls.as_ref().map(|calls| calls.values().sum())
    }

    fn command(&self, min: u64, max: u64, microseconds: u64, seed: u64) -> Value {
        json!({
            "command": "wait", "model": self.model.name(), "descriptors": self.descriptors,
            "active": self.active, "min_rounds": min, "max_rounds": max, "microseconds": microseconds,
            "seed": seed,
        })
    }

    /// Counts the system calls, if tracing is permitted.
    fn count(&mut self, worker: &mut Worker) -> Result<()> {
        let mut command = self.command(COUNTED_ROUNDS, COUNTED_ROUNDS, 0, 1);
        // Preparing the descriptors is not counted, and is slow under ptrace.
        command["command"] = json!("prepare-wait");
        worker.request(&command)?;
        command["command"] = json!("wait");
        let (_, by_name) = worker.request_traced(&command)?;
        let by_name = by_name.into_iter();
        let own = by_name.filter(|(name, _)| name != "write");
        self.calls = Some(own.map(|(name, count)| (name, ratio(count, COUNTED_ROUNDS))).collect());
        Ok(())
    }

    fn time(&self, worker: &mut Worker, microseconds: u64, seed: u64) -> Result<WaitSample> {
        let reply = worker.request(&self.command(5, 20_000, microseconds, seed))?;
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        let rounds = number(&reply["rounds"]);
        let each = |nanoseconds: &Value| ratio(number(nanoseconds), rounds) / 1000.0;
        let (wait_time, cpu) = (each(&reply["nanoseconds"]), each(&reply["usage"]["cpu"]));
        Ok(WaitSample { rounds, wait_time, cpu })
    }
}

/// The report.
#[derive(Clone, Debug)]
pub struct Models {
    /// Wake-ups by combination.
    pub rows: Vec<WaitRow>,
    /// Requests by combination.
    pub requests: Vec<RequestRow>,
    /// Skipped combinations with the reason.
    pub skipped: Vec<(String, String)>,
    /// Seed of the random order.
    pub seed: u64,
}

impl Models {
    /// Runs the experiment and calls `on_step` before each step.
    ///
    /// # Errors
    /// If no worker can be started.
    pub fn run(plan: &ModelsPlan, mut on_step: impl FnMut(&str)) -> Result<Self> {
        let (seed, mut rng) = Rng::from_clock();
        let mut models = Self { rows: Vec::new(), requests: Vec::new(), skipped: Vec::new(), seed };
        let mut worker = plan.workers.start(0)?;
        for mut row in combinations(plan) {
            on_step(&format!("counting {}", name(&row)));
            match row.count(&mut worker) {
                Ok(()) => models.rows.push(row),
                Err(error) if row.time(&mut worker, 0, 1).is_ok() => {
                    models.skipped.push((format!("calls of {}", name(&row)), error.to_string()));
                    models.rows.push(row);
                }
                Err(error) => models.skipped.push((name(&row), error.to_string())),
            }
        }
        models.time(plan, &mut worker, &mut rng, &mut on_step);
        // Its descriptors are no longer needed.
        drop(worker);
        models.requests = requests::run(plan, &mut rng, &mut models.skipped, &mut on_step)?;
        Ok(models)
    }

    fn time(
        &mut self,
        plan: &ModelsPlan,
        worker: &mut Worker,
        rng: &mut Rng,
        on_step: &mut impl FnMut(&str),
    ) {
        // The first round warms up and is discarded.
        for round in 0..=plan.runs {
            on_step(&format!("timing, {round} of {}", plan.runs));
            let mut order: Vec<_> = (0..self.rows.len()).collect();
            rng.shuffle(&mut order);
            for place in order {
                let row = &mut self.rows[place];
                match row.time(worker, plan.microseconds, rng.below(usize::MAX) as u64) {
                    Ok(sample) if round > 0 => row.timed.push(sample),
                    Ok(_) => {}
                    Err(error) => self.skipped.push((name(row), error.to_string())),
                }
            }
        }
    }

    /// Returns the row of a combination.
    #[must_use]
    pub fn find(&self, model: Model, descriptors: u32, active: u32) -> Option<&WaitRow> {
        let wanted = (model, descriptors, active);
        self.rows.iter().find(|row| (row.model, row.descriptors, row.active) == wanted)
    }

    /// Returns the nanoseconds of CPU time per wake-up and idle descriptor, with one active
    /// descriptor. CPU time does not depend on other processes on the core.
    #[must_use]
    pub fn slope(&self, model: Model) -> Option<Slope> {
        let rows = self.rows.iter().filter(|row| row.model == model && row.active == 1);
        let groups: Vec<_> = rows
            .map(|row| {
                let nanoseconds = row.timed.iter().map(|run| run.cpu * 1000.0);
                (f64::from(row.descriptors - row.active), nanoseconds.collect())
            })
            .collect();
        Slope::of(&groups, self.seed)
    }
}

fn combinations(plan: &ModelsPlan) -> Vec<WaitRow> {
    let mut rows = Vec::new();
    for &descriptors in &plan.descriptors {
        for &active in plan.active.iter().filter(|&&active| active <= descriptors) {
            let watching = plan.models.iter().filter(|&model| MODELS.contains(model));
            rows.extend(watching.map(|&model| WaitRow {
                model,
                descriptors,
                active,
                calls: None,
                timed: Vec::new(),
            }));
        }
    }
    rows
}

fn name(row: &WaitRow) -> String {
    format!("{} on {} descriptors, {} active", row.model, row.descriptors, row.active)
}
