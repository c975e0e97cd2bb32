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
mod render;
mod run;
mod site;

pub use fairness::{jain, least_of_most};
pub use held::Held;
pub use run::{Answers, Sample};

use karez_reactor::{ALLOWED, Model, Topology};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::crew::{Cores, Worker, Workers};
use crate::draw::Draw;
use crate::error::Result;
use crate::spread::Spread;
use site::Site;

/// What is to be tried.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How to start workers.
    pub workers: Workers,
    /// Models, each with every topology that goes with it.
    pub models: Vec<Model>,
    /// Topologies.
    pub topologies: Vec<Topology>,
    /// Connections of each kind; where there are none of a kind, mixes with it are left out.
    pub clients: Clients,
    /// Timed runs of each combination.
    pub runs: usize,
    /// How long a run is, in milliseconds.
    pub milliseconds: u64,
    /// Where to make files: on a disk, for memory has no cold ones.
    pub directory: PathBuf,
}

impl Plan {
    /// epoll-edge and blocking in every topology, 32 fast, 8 slow and 4 blocking connections, nine
    /// runs of 300 ms.
    #[must_use]
    pub fn new(workers: Workers, directory: &Path) -> Self {
        Self {
            workers,
            models: vec![Model::EpollEdge, Model::Blocking],
            topologies: Topology::ALL.to_vec(),
            clients: Clients { fast: 32, slow: 8, blocking: 4 },
            runs: 9,
            milliseconds: 300,
            directory: directory.to_owned(),
        }
    }

    /// The same with three runs of 50 ms.
    #[must_use]
    pub fn quick(self) -> Self {
        Self { runs: 3, milliseconds: 50, ..self }
    }

    fn layouts(&self) -> impl Iterator<Item = (Model, Topology)> {
        let in_all =
            |&model: &Model| self.topologies.iter().map(move |&topology| (model, topology));
        self.models.iter().flat_map(in_all).filter(|pair| ALLOWED.contains(pair))
    }

    /// Fast ones alone, then with slow ones, then with all.
    fn mixes(&self) -> Vec<Clients> {
        let Clients { fast, slow, .. } = self.clients;
        let mut mixes = vec![Clients { fast, slow: 0, blocking: 0 }];
        mixes.push(Clients { fast, slow, blocking: 0 });
        mixes.push(self.clients);
        mixes.dedup();
        mixes
    }
}

/// How many connections there are of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clients {
    /// They ask for 1 KiB that is in memory.
    pub fast: u32,
    /// They ask for 4 MiB, and take 64 KiB every 5 ms.
    pub slow: u32,
    /// They ask for 256 KiB that they have dropped from the page cache.
    pub blocking: u32,
}

impl Clients {
    /// As in `32 fast + 8 slow`.
    #[must_use]
    pub fn name(self) -> String {
        let kinds = [(self.fast, "fast"), (self.slow, "slow"), (self.blocking, "blocking")];
        let there = kinds.iter().filter(|(count, _)| *count > 0);
        there.map(|(count, kind)| format!("{count} {kind}")).collect::<Vec<_>>().join(" + ")
    }
}

/// One combination and what came of it.
#[derive(Clone, Debug)]
pub struct Row {
    /// How the server waited.
    pub model: Model,
    /// How its threads were laid out.
    pub topology: Topology,
    /// Who asked.
    pub clients: Clients,
    /// The timed runs.
    pub timed: Vec<Sample>,
}

impl Row {
    /// A figure of each run.
    #[must_use]
    pub fn spread(&self, figure: impl Fn(&Sample) -> f64) -> Spread {
        Spread::of(self.timed.iter().map(figure))
    }

    /// A figure of what one kind of connections had in each run in which it had any answer; `None`
    /// where it had none in any.
    #[must_use]
    pub fn latency(
        &self,
        kind: fn(&Sample) -> &Answers,
        figure: impl Fn(&Answers) -> f64,
    ) -> Option<Spread> {
        let had = self.timed.iter().map(kind).filter(|had| had.each.iter().any(|&one| one > 0));
        let figures: Vec<_> = had.map(figure).collect();
        (!figures.is_empty()).then(|| Spread::of(figures))
    }

    /// The threads of the run that had most, by name.
    #[must_use]
    pub fn threads(&self) -> BTreeMap<String, u64> {
        let most = self.timed.iter().max_by_key(|run| run.threads.values().sum::<u64>());
        most.map(|run| run.threads.clone()).unwrap_or_default()
    }

    fn name(&self) -> String {
        let Self { model, topology, clients, .. } = self;
        format!("{model} × {topology}, {}", clients.name())
    }
}

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
        let (seed, draw) = Draw::by_the_clock();
        let cores = Cores::shared_out()?;
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
        told.time(plan, &cores, draw, &mut before)?;
        Ok(told)
    }

    fn time(
        &mut self,
        plan: &Plan,
        cores: &Cores,
        mut draw: Draw,
        before: &mut impl FnMut(&str),
    ) -> Result<()> {
        let site = Site::lay(&plan.directory, plan.clients.blocking)?;
        self.rows = self.combinations(plan, &site);
        let mut clients = plan.workers.start(0)?;
        clients.ask(&serde_json::json!({ "do": "pin", "cores": cores.clients }))?;
        // The first round warms what there is to warm and is dropped.
        for round in 0..=plan.runs {
            let mut order: Vec<_> = (0..self.rows.len()).collect();
            draw.shuffle(&mut order);
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
        let cores = Cores::shared_out()?;
        clients.ask(&serde_json::json!({ "do": "pin", "cores": cores.clients })).map(drop)
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
