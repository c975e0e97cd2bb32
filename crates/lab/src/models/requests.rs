//! What a request costs by each model: a small task (`workers/echo_service.rs`) on a reactor whole, of whose
//! connections some ask and the others rest.
//!
//! A server and a client for each model are laid at the same time, so that the order of the timed
//! runs can be drawn among all of them; those that are not requested sleep, and the one that never
//! sleeps is stopped meanwhile (`SIGSTOP`). Connections are UNIX sockets: what is sent is there at
//! once, and nothing of the cost is the network's.
//!
//! What it does badly: the order is drawn among the models, and not among numbers of connections,
//! which follow one another; a client that waits for each answer has the server wake for each.

use karez_lab_sys::count_thread_syscalls;
use karez_reactor::Model;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::mpsc::channel;
use std::thread;
use tempfile::TempDir;

use super::plan::ModelsPlan;
use crate::error::{Error, ErrorContext as _, Result};
use crate::probe::{call_name, mark};
use crate::quiescence::wait_until_quiescent;
use crate::rng::Rng;
use crate::stats::MedianRange;
use crate::workers::{CoreSplit, ServerProcess, Worker};

/// The most connections where each is a thread or two descriptors, as `karez serve` has it.
const MAX_CONNECTIONS: u32 = 1024;

/// Laps that are counted. What is left over behind the last is shared by all of them.
const COUNTED_ROUNDS: u64 = 8;

/// Laps that are counted of one that asks all the time: it makes thousands of calls in each.
const COUNTED_ROUNDS_NEVER_SLEEPING: u64 = 1;

/// One combination and what it cost.
#[derive(Clone, Debug)]
pub struct RequestRow {
    /// The model of the reactor.
    pub model: Model,
    /// How many connections it had.
    pub connections: u32,
    /// Of which so many requested at the same time, again and again.
    pub active: u32,
    /// Its threads by name, their numbers left out.
    pub threads: BTreeMap<String, u64>,
    /// System calls of all of them a request by name; `None` where tracing is not permitted.
    pub calls: Option<BTreeMap<String, f64>>,
    /// The timed runs.
    pub timed: Vec<RequestSample>,
}

/// One timed run.
#[derive(Clone, Copy, Debug)]
pub struct RequestSample {
    /// Requests.
    pub requests: u64,
    /// Microseconds from the first question to the last answer of those that ask at the same time,
    /// divided by how many these are.
    pub time: f64,
    /// Microseconds of CPU of the server a request.
    pub cpu: f64,
    /// Context switches of the server a request.
    pub switches: f64,
}

impl RequestRow {
    /// Microseconds a request.
    #[must_use]
    pub fn time(&self) -> MedianRange {
        MedianRange::of(self.timed.iter().map(|run| run.time))
    }

    /// Microseconds of CPU a request.
    #[must_use]
    pub fn cpu(&self) -> MedianRange {
        MedianRange::of(self.timed.iter().map(|run| run.cpu))
    }

    /// Context switches a request.
    #[must_use]
    pub fn switches(&self) -> MedianRange {
        MedianRange::of(self.timed.iter().map(|run| run.switches))
    }

    /// All system calls a request.
    #[must_use]
    pub fn total_calls(&self) -> Option<f64> {
        self.calls.as_ref().map(|calls| calls.values().sum())
    }
}

/// Tries every model with every number of connections; what could not be had goes to `skipped`.
pub(super) fn run(
    plan: &ModelsPlan,
    rng: &mut Rng,
    skipped: &mut Vec<(String, String)>,
    on_step: &mut impl FnMut(&str),
) -> Result<Vec<RequestRow>> {
    let cores = CoreSplit::of_allowed()?;
    let mut rows = Vec::new();
    for &connections in &plan.descriptors {
        let mut setups = Vec::new();
        for &model in &plan.models {
            let name = format!("requests of {model} on {connections} connections");
            on_step(&format!("counting {name}"));
            match Setup::new(plan, &cores, model, connections, &name, skipped) {
                Ok(setup) => setups.push(setup),
                Err(error) => skipped.push((name, error.to_string())),
            }
        }
        time(plan, &mut setups, rng, skipped, on_step);
        rows.extend(setups.into_iter().flat_map(|setup| setup.rows));
    }
    // By what is to be compared.
    rows.sort_by_key(|row| (row.connections, row.active));
    Ok(rows)
}

/// Times all in an order that is drawn. The first round is dropped.
fn time(
    plan: &ModelsPlan,
    setups: &mut [Setup],
    rng: &mut Rng,
    skipped: &mut Vec<(String, String)>,
    on_step: &mut impl FnMut(&str),
) {
    let places = setups.iter().enumerate();
    let places: Vec<_> =
        places.flat_map(|(at, setup)| (0..setup.rows.len()).map(move |row| (at, row))).collect();
    for round in 0..=plan.runs {
        on_step(&format!("timing requests, {round} of {}", plan.runs));
        let mut order: Vec<_> = (0..places.len()).collect();
        rng.shuffle(&mut order);
        for (at, row) in order.into_iter().map(|place| places[place]) {
            let (setup, seed) = (&mut setups[at], rng.below(usize::MAX) as u64);
            match setup.time(row, plan.microseconds, seed) {
                Ok(sample) if round > 0 => setup.rows[row].timed.push(sample),
                Ok(_) => {}
                Err(error) => skipped.push((name(&setup.rows[row]), error.to_string())),
            }
        }
    }
}

/// A server and a client with connections between them.
struct Setup {
    server: ServerProcess,
    clients: Worker,
    rows: Vec<RequestRow>,
    /// It never rests.
    never_sleeps: bool,
    _directory: TempDir,
}

impl Setup {
    /// Lays it, and counts once.
    fn new(
        plan: &ModelsPlan,
        cores: &CoreSplit,
        model: Model,
        connections: u32,
        name: &str,
        skipped: &mut Vec<(String, String)>,
    ) -> Result<Self> {
        if matches!(model, Model::Blocking | Model::PosixAio) && connections > MAX_CONNECTIONS {
            let why = "refused: each connection is a thread or two descriptors, and karez serve lets \
                       in 1,024";
            return Err(Error::new("lay", model, why));
        }
        let mut setup = Self::connect(plan, cores, model, connections)?;
        let active = plan.active.iter().filter(|&&active| active <= connections);
        let threads = setup.server.threads()?;
        for &active in active {
            let mut row = RequestRow {
                model,
                connections,
                active,
                threads: threads.clone(),
                calls: None,
                timed: Vec::new(),
            };
            match setup.count(&row) {
                Ok(calls) => row.calls = Some(calls),
                Err(error) => skipped.push((format!("calls of {name}"), error.to_string())),
            }
            setup.rows.push(row);
        }
        if setup.never_sleeps {
            setup.server.pause()?;
        }
        Ok(setup)
    }

    fn connect(
        plan: &ModelsPlan,
        cores: &CoreSplit,
        model: Model,
        connections: u32,
    ) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("karez-lab-").tempdir();
        let directory = directory.context("make", "a directory")?;
        let at = format!("unix:{}", directory.path().join("socket").display());
        let command = json!({
            "model": model.name(), "topology": "single", "reactors": 1, "at": at,
            "fifo": directory.path().join("fifo"),
        });
        let server = ServerProcess::start(&plan.workers, cores, command)?;
        let mut clients = plan.workers.start(0)?;
        clients.request(&json!({ "command": "pin", "cores": cores.clients }))?;
        clients.request(
            &json!({ "command": "connect-echo", "to": server.address(), "count": connections }),
        )?;
        let never_sleeps = model == Model::Nonblocking;
        Ok(Self { server, clients, rows: Vec::new(), never_sleeps, _directory: directory })
    }

    /// What all threads of the server call for a request, under ptrace.
    fn count(&mut self, row: &RequestRow) -> Result<BTreeMap<String, f64>> {
        let (pid, (attached, is_attached)) = (self.server.pid(), channel());
        let marks = (mark::begin_number(), mark::end_number());
        let (requested, traced) = thread::scope(|scope| {
            let reply = move || {
                let _receiver_waits = attached.send(());
            };
            let tracer = scope.spawn(move || count_thread_syscalls(pid, marks.0, marks.1, reply));
            // If that fails the tracer says why.
            let requested = is_attached.recv().map_or(Ok(Value::Null), |()| self.marked(row));
            if requested.is_err() {
                // The tracer waits for an end that does not come.
                self.server.kill();
            }
            (requested, tracer.join())
        });
        let traced = traced.map_err(|_| Error::new("trace", "a server", "the tracer panicked"))?;
        let requests = requested?["requests"].as_u64().unwrap_or(0);
        let by_number = traced.context("trace", "a server")?.into_iter();
        Ok(by_number.map(|(number, made)| (call_name(number), ratio(made, requests))).collect())
    }

    /// A few rounds, from rest to rest, between the marks.
    fn marked(&mut self, row: &RequestRow) -> Result<Value> {
        self.wait_until_quiescent()?;
        self.server.request(&json!({ "command": "mark", "edge": "begin" }))?;
        let rounds = if self.never_sleeps { COUNTED_ROUNDS_NEVER_SLEEPING } else { COUNTED_ROUNDS };
        let reply = self.clients.request(&echo_command(row.active, rounds, rounds, 0, 1))?;
        self.wait_until_quiescent()?;
        self.server.request(&json!({ "command": "mark", "edge": "end" }))?;
        Ok(reply)
    }

    fn wait_until_quiescent(&self) -> Result<()> {
        if self.never_sleeps { Ok(()) } else { wait_until_quiescent(self.server.pid()) }
    }

    fn time(&mut self, row: usize, microseconds: u64, seed: u64) -> Result<RequestSample> {
        if self.never_sleeps {
            self.server.resume()?;
        }
        let before = self.server.usage()?;
        let command = echo_command(self.rows[row].active, 5, 20_000, microseconds, seed);
        let reply = self.clients.request(&command)?;
        let usage = self.server.usage()?.since(before);
        if self.never_sleeps {
            self.server.pause()?;
        }
        let requests = reply["requests"].as_u64().unwrap_or(0);
        let nanoseconds = reply["nanoseconds"].as_u64().unwrap_or(0);
        Ok(RequestSample {
            requests,
            time: ratio(nanoseconds, requests) / 1000.0,
            cpu: ratio(usage.cpu, requests) / 1000.0,
            switches: ratio(usage.voluntary + usage.involuntary, requests),
        })
    }
}

fn echo_command(active: u32, min: u64, max: u64, microseconds: u64, seed: u64) -> Value {
    json!({
        "command": "echo", "active": active, "min_rounds": min, "max_rounds": max,
        "microseconds": microseconds, "seed": seed,
    })
}

fn name(row: &RequestRow) -> String {
    let RequestRow { model, connections, active, .. } = row;
    format!("requests of {model} on {connections} connections, {active} active")
}

#[allow(clippy::cast_precision_loss, reason = "counts and times of an experiment")]
pub(super) fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}
