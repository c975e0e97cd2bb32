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

mod drawn;
mod fairness;
mod held;
mod plan;
mod render;
mod row;
mod run;
mod sample;
mod site;
mod tables;

pub use fairness::{jain, least_of_most};
pub use held::Held;
pub use plan::{Clients, Plan};
pub use row::Row;
pub use sample::{Answers, Sample};

use crate::error::Result;
use crate::rng::Rng;
use crate::workers::{CoreSplit, Worker};
use site::Site;

/// What came of it.
#[derive(Clone, Debug)]
pub struct Topologies {
    /// What was held, and who was answered meanwhile.
    pub held: Vec<Held>,
    /// Each combination that could be had.
    pub rows: Vec<Row>,
    /// What could not be had: of which, and why.
    pub skipped: Vec<(String, String)>,
    /// How many cores the server had.
    pub cores: usize,
    /// What the order of the timed runs was drawn from.
    pub seed: u64,
}

impl Topologies {
    /// Tries everything that is planned; `before` hears what comes next.
    ///
    /// # Errors
    /// Where no worker can be started, or no file be made.
    pub fn run(plan: &Plan, mut before: impl FnMut(&str)) -> Result<Self> {
        let (seed, rng) = Rng::from_clock();
        let cores = CoreSplit::of_allowed()?;
        let (held, skipped) = (Vec::new(), Vec::new());
        let mut told = Self { held, rows: Vec::new(), skipped, cores: cores.server.len(), seed };
        for (model, topology) in plan.layouts() {
            before(&format!("holding a job of {model} × {topology}"));
            match held::hold(&plan.workers, &cores, model, topology) {
                Ok(held) => told.held.push(held),
                Err(error) => {
                    told.skipped.push((format!("{model} × {topology}, held"), error.to_string()));
                }
            }
        }
        told.time(plan, &cores, rng, &mut before)?;
        Ok(told)
    }

    fn time(
        &mut self,
        plan: &Plan,
        cores: &CoreSplit,
        mut rng: Rng,
        before: &mut impl FnMut(&str),
    ) -> Result<()> {
        let site = Site::lay(&plan.directory, plan.clients.blocking)?;
        self.rows = self.combinations(plan, &site);
        let mut clients = plan.workers.start(0)?;
        clients.request(&serde_json::json!({ "command": "pin", "cores": cores.clients }))?;
        // The first round warms what there is to warm and is dropped.
        for round in 0..=plan.runs {
            let mut order: Vec<_> = (0..self.rows.len()).collect();
            rng.shuffle(&mut order);
            for place in order {
                let row = &mut self.rows[place];
                before(&format!("timing, {round} of {}: {}", plan.runs, row.name()));
                match run::run(plan, cores, &site, &mut clients, row) {
                    Ok(sample) if round > 0 => row.timed.push(sample),
                    Ok(_) => {}
                    Err(error) => self.skip(&mut clients, plan, place, &error.to_string())?,
                }
            }
        }
        // What could not be had in any run is no row.
        self.rows.retain(|row| !row.timed.is_empty());
        Ok(())
    }

    /// Notes why a run failed, once for each combination. The clients may be in the middle of it.
    fn skip(&mut self, clients: &mut Worker, plan: &Plan, place: usize, why: &str) -> Result<()> {
        let skipped = (self.rows[place].name(), why.to_owned());
        if !self.skipped.contains(&skipped) {
            self.skipped.push(skipped);
        }
        *clients = plan.workers.start(0)?;
        let cores = CoreSplit::of_allowed()?;
        clients.request(&serde_json::json!({ "command": "pin", "cores": cores.clients })).map(drop)
    }

    fn combinations(&mut self, plan: &Plan, site: &Site) -> Vec<Row> {
        let mut rows = Vec::new();
        for clients in plan.mixes() {
            if clients.blocking > 0
                && let Err(why) = site.can_be_cold()
            {
                self.skipped.push((clients.name(), why.to_string()));
                continue;
            }
            rows.extend(plan.layouts().map(|(model, topology)| Row {
                model,
                topology,
                clients,
                timed: Vec::new(),
            }));
        }
        rows
    }
}
