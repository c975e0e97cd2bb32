//! `karez lab topologies`: how the threading layout affects a mix of fast, slow and disk-bound
//! requests.
//!
//! There are two experiments. In the timed runs the real file server handles clients in closed
//! loops: fast clients alone, with slow clients, and with clients whose files have to be read from
//! disk. In the other a job blocks, and the experiment counts the responses to other connections
//! until it is unblocked (`topologies/blocked_job.rs`): that is exact and needs no clock.
//!
//! # Limitations
//! Server and clients share a machine; with two cores all reactors share one of them. A closed loop
//! sends fewer requests while the server stalls. All traffic uses loopback.

mod blocked_job;
mod charts;
mod fairness;
mod plan;
mod render;
mod row;
mod run;
mod sample;
mod tables;
mod test_site;

pub use blocked_job::BlockedJob;
pub use fairness::{jain, min_max_ratio};
pub use plan::{ClientMix, TopologiesPlan};
pub use row::TopologyRow;
pub use sample::{LoadSample, ResponseStats};

use crate::error::Result;
use crate::rng::Rng;
use crate::workers::{CoreSplit, Worker};
use test_site::TestSite;

/// The report.
#[derive(Clone, Debug)]
pub struct Topologies {
    /// Results of the blocked job.
    pub blocked_jobs: Vec<BlockedJob>,
    /// Timed combinations.
    pub rows: Vec<TopologyRow>,
    /// Skipped combinations with the reason.
    pub skipped: Vec<(String, String)>,
    /// Number of cores of the server.
    pub cores: usize,
    /// Seed of the random order.
    pub seed: u64,
}

impl Topologies {
    /// Runs the experiment and calls `on_step` before each step.
    ///
    /// # Errors
    /// If no worker can be started or no file created.
    pub fn run(plan: &TopologiesPlan, mut on_step: impl FnMut(&str)) -> Result<Self> {
        let (seed, rng) = Rng::from_clock();
        let cores = CoreSplit::of_allowed()?;
        let (blocked_jobs, skipped) = (Vec::new(), Vec::new());
        let mut result =
            Self { blocked_jobs, rows: Vec::new(), skipped, cores: cores.server.len(), seed };
        for (model, topology) in plan.layouts() {
            on_step(&format!("blocking a job of {model} × {topology}"));
            match blocked_job::block_job(&plan.workers, &cores, model, topology) {
                Ok(job) => result.blocked_jobs.push(job),
                Err(error) => {
                    result
                        .skipped
                        .push((format!("{model} × {topology}, blocked job"), error.to_string()));
                }
            }
        }
        result.time(plan, &cores, rng, &mut on_step)?;
        Ok(result)
    }

    fn time(
        &mut self,
        plan: &TopologiesPlan,
        cores: &CoreSplit,
        mut rng: Rng,
        on_step: &mut impl FnMut(&str),
    ) -> Result<()> {
        let site = TestSite::create(&plan.directory, plan.clients.blocking)?;
        self.rows = self.combinations(plan, &site);
        let mut clients = plan.workers.start(0)?;
        clients.request(&serde_json::json!({ "command": "pin", "cores": cores.clients }))?;
        // The first round warms up and is discarded.
        for round in 0..=plan.runs {
            let mut order: Vec<_> = (0..self.rows.len()).collect();
            rng.shuffle(&mut order);
            for place in order {
                let row = &mut self.rows[place];
                on_step(&format!("timing, {round} of {}: {}", plan.runs, row.name()));
                match run::run(plan, cores, &site, &mut clients, row) {
                    Ok(sample) if round > 0 => row.timed.push(sample),
                    Ok(_) => {}
                    Err(error) => self.skip(&mut clients, plan, place, &error.to_string())?,
                }
            }
        }
        // A combination that failed in every run has no row.
        self.rows.retain(|row| !row.timed.is_empty());
        Ok(())
    }

    /// Records the reason of a failed run, once per combination, and restarts the clients, which
    /// may be in the middle of a request.
    fn skip(
        &mut self,
        clients: &mut Worker,
        plan: &TopologiesPlan,
        place: usize,
        why: &str,
    ) -> Result<()> {
        let skipped = (self.rows[place].name(), why.to_owned());
        if !self.skipped.contains(&skipped) {
            self.skipped.push(skipped);
        }
        *clients = plan.workers.start(0)?;
        let cores = CoreSplit::of_allowed()?;
        clients.request(&serde_json::json!({ "command": "pin", "cores": cores.clients })).map(drop)
    }

    fn combinations(&mut self, plan: &TopologiesPlan, site: &TestSite) -> Vec<TopologyRow> {
        let mut rows = Vec::new();
        for clients in plan.mixes() {
            if clients.blocking > 0
                && let Err(why) = site.can_be_cold()
            {
                self.skipped.push((clients.name(), why.to_string()));
                continue;
            }
            rows.extend(plan.layouts().map(|(model, topology)| TopologyRow {
                model,
                topology,
                clients,
                timed: Vec::new(),
            }));
        }
        rows
    }
}
