//! The cost of a request with each model: an echo task (`workers/echo_service.rs`) on a whole
//! reactor, with active and idle connections.
//!
//! Each model has a server and a client process at the same time, so that the timed runs can
//! alternate between the models in random order. Idle servers sleep; the busy-polling one is
//! stopped (`SIGSTOP`).
//!
//! # Limitations
//! Only the models are in random order; the numbers of connections follow each other. A client that
//! waits for each response makes the server wake up for each request.

use karez_reactor::Model;
use std::collections::BTreeMap;

use super::echo_setup::{EchoSetup, echo_command, ratio};
use super::plan::ModelsPlan;
use crate::error::{Error, Result};
use crate::rng::Rng;
use crate::stats::MedianRange;
use crate::workers::CoreSplit;

/// Maximum number of connections for models with a thread or two descriptors per connection, as in
/// `karez serve`.
const MAX_CONNECTIONS: u32 = 1024;

/// One combination and its cost.
#[derive(Clone, Debug)]
pub struct RequestRow {
    /// The model of the reactor.
    pub model: Model,
    /// Number of connections.
    pub connections: u32,
    /// Number of active connections, which send at the same time.
    pub active: u32,
    /// Number of the server's threads by name, without their index.
    pub threads: BTreeMap<String, u64>,
    /// System calls of all threads per request by name; `None` if tracing is not permitted.
    pub calls: Option<BTreeMap<String, f64>>,
    /// The timed runs.
    pub timed: Vec<RequestSample>,
}

/// One timed run.
#[derive(Clone, Copy, Debug)]
pub struct RequestSample {
    /// Number of requests.
    pub requests: u64,
    /// Microseconds from the first request of a round to its last response, divided by the number
    /// of requests.
    pub time: f64,
    /// Microseconds of CPU time of the server per request.
    pub cpu: f64,
    /// Context switches of the server per request.
    pub switches: f64,
}

impl RequestRow {
    /// Returns the microseconds per request.
    #[must_use]
    pub fn time(&self) -> MedianRange {
        MedianRange::of(self.timed.iter().map(|run| run.time))
    }

    /// Returns the microseconds of CPU time per request.
    #[must_use]
    pub fn cpu(&self) -> MedianRange {
        MedianRange::of(self.timed.iter().map(|run| run.cpu))
    }

    /// Returns the context switches per request.
    #[must_use]
    pub fn switches(&self) -> MedianRange {
        MedianRange::of(self.timed.iter().map(|run| run.switches))
    }

    /// Returns the number of system calls per request.
    #[must_use]
    pub fn total_calls(&self) -> Option<f64> {
        self.calls.as_ref().map(|calls| calls.values().sum())
    }
}

/// Measures every model with every number of connections; failed combinations are added to
/// `skipped`.
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
    // In the order of the comparison.
    rows.sort_by_key(|row| (row.connections, row.active));
    Ok(rows)
}

/// Times all setups in random order. The first round is discarded.
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

/// The rows of one server.
struct Setup {
    echo: EchoSetup,
    rows: Vec<RequestRow>,
}

impl Setup {
    /// Starts server and client, and counts.
    fn new(
        plan: &ModelsPlan,
        cores: &CoreSplit,
        model: Model,
        connections: u32,
        name: &str,
        skipped: &mut Vec<(String, String)>,
    ) -> Result<Self> {
        if matches!(model, Model::Blocking | Model::PosixAio) && connections > MAX_CONNECTIONS {
            let why = "not possible: each connection needs a thread or two descriptors, and karez \
                       serve accepts 1,024";
            return Err(Error::new("lay", model, why));
        }
        let mut echo = EchoSetup::start(&plan.workers, cores, model)?;
        echo.connect(connections)?;
        let mut setup = Self { echo, rows: Vec::new() };
        let active = plan.active.iter().filter(|&&active| active <= connections);
        let threads = setup.echo.server.threads()?;
        for &active in active {
            let mut row = RequestRow {
                model,
                connections,
                active,
                threads: threads.clone(),
                calls: None,
                timed: Vec::new(),
            };
            match setup.echo.count_calls(active) {
                Ok(calls) => row.calls = Some(calls),
                Err(error) => skipped.push((format!("calls of {name}"), error.to_string())),
            }
            setup.rows.push(row);
        }
        if setup.echo.never_sleeps {
            setup.echo.server.pause()?;
        }
        Ok(setup)
    }

    fn time(&mut self, row: usize, microseconds: u64, seed: u64) -> Result<RequestSample> {
        let echo = &mut self.echo;
        if echo.never_sleeps {
            echo.server.resume()?;
        }
        let before = echo.server.usage()?;
        let command = echo_command(self.rows[row].active, 5, 20_000, microseconds, seed);
        let reply = echo.clients.request(&command)?;
        let usage = echo.server.usage()?.since(before);
        if echo.never_sleeps {
            echo.server.pause()?;
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

fn name(row: &RequestRow) -> String {
    let RequestRow { model, connections, active, .. } = row;
    format!("requests of {model} on {connections} connections, {active} active")
}
