//! `karez lab models`: what it costs to wait, for each readiness model of the reactor, by how many
//! descriptors there are and how many of them have something to say.
//!
//! Counting and timing are separate passes: each combination runs once under ptrace, which sees
//! every system call of anyone's, then several times without, in an order that is drawn anew, the
//! first of each not looked at.
//!
//! Wake-ups are of the demultiplexers alone; requests, of every model, are asked of a reactor whole
//! (`models/requests.rs`).
//!
//! What it does badly: for a wake-up one thread writes and waits, so nobody sleeps; descriptors are
//! eventfds, or UNIX sockets where a model cannot watch those, and no connections.

mod charts;
mod plan;
mod render;
mod request_table;
mod requests;
mod tables;

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
use requests::ratio;

/// Every model that is a demultiplexer.
pub const MODELS: [Model; 7] = [
    Model::Nonblocking,
    Model::Select,
    Model::Poll,
    Model::EpollLevel,
    Model::EpollEdge,
    Model::Signal,
    Model::LinuxAio,
];

/// Laps that are counted: the calls of one are as those of the other.
const COUNTED_ROUNDS: u64 = 2;

/// One combination and what it cost.
#[derive(Clone, Debug)]
pub struct WaitRow {
    /// How it waited.
    pub model: Model,
    /// On how many descriptors.
    pub descriptors: u32,
    /// Of which so many were active.
    pub active: u32,
    /// System calls a wake-up by name, those that make descriptors ready left out; `None` where
    /// tracing is not permitted.
    pub calls: Option<BTreeMap<String, f64>>,
    /// The timed runs.
    pub timed: Vec<WaitSample>,
}

/// One timed run.
#[derive(Clone, Copy, Debug)]
pub struct WaitSample {
    /// Wake-ups.
    pub rounds: u64,
    /// Microseconds a wake-up, from the wait to the last read.
    pub wait_time: f64,
    /// Microseconds of CPU a wake-up, also those of the writes.
    pub cpu: f64,
}

impl WaitRow {
    /// Microseconds a wake-up.
    #[must_use]
    pub fn wait_time(&self) -> MedianRange {
        MedianRange::of(self.timed.iter().map(|run| run.wait_time))
    }

    /// Microseconds of CPU a wake-up.
    #[must_use]
    pub fn cpu(&self) -> MedianRange {
        MedianRange::of(self.timed.iter().map(|run| run.cpu))
    }

    /// All system calls a wake-up.
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

    /// Counts its system calls; why not, where that is not permitted.
    fn count(&mut self, worker: &mut Worker) -> Result<()> {
        let mut command = self.command(COUNTED_ROUNDS, COUNTED_ROUNDS, 0, 1);
        // Laying the field is not what is counted, and takes long under ptrace.
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

/// What came of it.
#[derive(Clone, Debug)]
pub struct Models {
    /// Wake-ups: each combination that could be had.
    pub rows: Vec<WaitRow>,
    /// Requests: each combination that could be had.
    pub requests: Vec<RequestRow>,
    /// What could not be had: of which, and why.
    pub skipped: Vec<(String, String)>,
    /// What the order of the timed runs was drawn from.
    pub seed: u64,
}

impl Models {
    /// Tries everything that is planned; `on_step` hears what comes next.
    ///
    /// # Errors
    /// Where no worker can be started.
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
        // What it holds is not needed any more.
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
        // The first round warms what there is to warm and is dropped.
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

    /// One row.
    #[must_use]
    pub fn find(&self, model: Model, descriptors: u32, active: u32) -> Option<&WaitRow> {
        let wanted = (model, descriptors, active);
        self.rows.iter().find(|row| (row.model, row.descriptors, row.active) == wanted)
    }

    /// Nanoseconds of CPU a wake-up for each idle descriptor, one being active. Of CPU, for that is
    /// the same whoever else wants the core.
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
