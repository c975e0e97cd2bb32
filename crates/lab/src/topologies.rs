//! `karez lab topologies`: what the layout of threads does to who asks for little, for much, and for
//! what is on a disk only, all at the same time.
//!
//! Two experiments. In runs that are timed the real file server has clients that ask in closed loops:
//! fast ones alone, with slow ones beside them, and with some for whom the server has to wait for a
//! disk. Apart from that one job is held, and counted is how many others are answered until it is let
//! go (`topologies/held.rs`): that is exact, and needs no clock.
//!
//! What it does badly: server and clients share a machine; where it has two cores, all reactors
//! share one; a closed loop asks less of a server that stands still; all goes over loopback.

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

/// What came of it.
#[derive(Clone, Debug)]
pub struct Topologies {
    /// What was held, and who was answered meanwhile.
    pub blocked_jobs: Vec<BlockedJob>,
    /// Each combination that could be stats.
    pub rows: Vec<TopologyRow>,
    /// What could not be stats: of which, and why.
    pub skipped: Vec<(String, String)>,
    /// How many cores the server stats.
    pub cores: usize,
    /// What the order of the timed runs was drawn from.
    pub seed: u64,
}

impl Topologies {
    /// Tries everything that is planned; `on_step` hears what comes next.
    ///
    /// # Errors
    /// Where no worker can be started, or no file be made.
    pub fn run(plan: &TopologiesPlan, mut on_step: impl FnMut(&str)) -> Result<Self> {
        let (seed, rng) = Rng::from_clock();
        let cores = CoreSplit::of_allowed()?;
        let (blocked_jobs, skipped) = (Vec::new(), Vec::new());
        let mut result =
            Self { blocked_jobs, rows: Vec::new(), skipped, cores: cores.server.len(), seed };
        for (model, topology) in plan.layouts() {
            on_step(&format!("holding a job of {model} × {topology}"));
            match blocked_job::block_job(&plan.workers, &cores, model, topology) {
                Ok(job) => result.blocked_jobs.push(job),
                Err(error) => {
                    result.skipped.push((format!("{model} × {topology}, held"), error.to_string()));
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
        // The first round warms what there is to warm and is dropped.
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
        // What could not be stats in any run is no row.
        self.rows.retain(|row| !row.timed.is_empty());
        Ok(())
    }

    /// Notes why a run failed, once for each combination. The clients may be in the middle of it.
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
