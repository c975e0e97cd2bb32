//! `karez lab all`: every experiment, one after the other, in one report.
//!
//! What it does badly: an experiment heats the machine for the next, and their order is fixed, so
//! that each can be held against the same one of another day.

use karez_reactor::{Model, Topology};
use karez_transfer::Via;
use serde_json::{Value, json};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::claims::{self, Claims};
use crate::compare::long_table;
use crate::error::Result;
use crate::machine::machine;
use crate::models::{self, Models};
use crate::report::{Part, Report, Section};
use crate::selftest::{self, SelfTest};
use crate::test_file::CacheState;
use crate::topologies::{self, Topologies};
use crate::trace::{self, Trace};
use crate::vias::{self, Vias};
use crate::workers::WorkerCommand;

/// The form of the JSON; the number rises when a field changes its meaning or goes.
const SCHEMA: &str = "karez.lab.all/1";

/// What is to be tried.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How to start workers.
    pub workers: WorkerCommand,
    /// Where files are made: on a disk.
    pub directory: PathBuf,
    /// Less of everything.
    pub quick: bool,
}

/// How far it has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The experiment.
    pub experiment: &'static str,
    /// What it is about to do.
    pub step: &'a str,
    /// Thousandths of the time that all take that are behind it, as experiments go.
    pub done: u64,
}

/// What came of it.
pub struct All {
    /// What each experiment came to, in their order; of some there are several.
    pub reports: Vec<Box<dyn Report>>,
    /// Experiments that could not be made, and why.
    pub skipped: Vec<(String, String)>,
    /// How long they took.
    pub time: Duration,
    /// Whether nothing was found that should not be: no counter failed, no via was another.
    pub sound: bool,
}

/// Reports, and whether nothing was found that should not be.
type Made = Result<(Vec<Box<dyn Report>>, bool)>;

type Make = fn(&Plan, &mut dyn FnMut(&str)) -> Made;

/// An experiment, and its part of the time that all take, by experience.
struct Experiment {
    name: &'static str,
    weight: u64,
    make: Make,
}

const EXPERIMENTS: &[Experiment] = &[
    Experiment { name: "selftest", weight: 3, make: selftest },
    Experiment { name: "claims", weight: 15, make: claims },
    Experiment { name: "vias", weight: 25, make: vias },
    Experiment { name: "models", weight: 100, make: models },
    Experiment { name: "topologies", weight: 90, make: topologies },
    Experiment { name: "trace", weight: 5, make: traces },
];

impl Plan {
    /// All of it.
    #[must_use]
    pub fn new(workers: WorkerCommand, directory: &Path) -> Self {
        Self { workers, directory: directory.to_owned(), quick: false }
    }
}

impl All {
    /// Makes every experiment; `before` hears what comes next. One that fails is told among what
    /// was skipped, and the others go on.
    pub fn run(plan: &Plan, mut before: impl FnMut(Progress<'_>)) -> Self {
        let begun = Instant::now();
        let mut all =
            Self { reports: Vec::new(), skipped: Vec::new(), time: Duration::ZERO, sound: true };
        let whole: u64 = EXPERIMENTS.iter().map(|one| one.weight).sum();
        let mut behind = 0;
        for &Experiment { name, weight, make } in EXPERIMENTS {
            let done = behind * 1000 / whole;
            match make(plan, &mut |step| before(Progress { experiment: name, step, done })) {
                Ok((reports, sound)) => {
                    all.reports.extend(reports);
                    all.sound &= sound;
                }
                Err(error) => all.skipped.push((name.to_owned(), error.to_string())),
            }
            behind += weight;
        }
        all.time = begun.elapsed();
        all
    }
}

fn selftest(plan: &Plan, before: &mut dyn FnMut(&str)) -> Made {
    let mut own = selftest::Plan::new(plan.workers.clone(), &plan.directory);
    if plan.quick {
        own = own.quick();
    }
    let told = SelfTest::run(&own, |letter, name| before(&format!("{letter}. {name}")))?;
    let passed = told.passed();
    Ok((vec![Box::new(told)], passed))
}

fn claims(plan: &Plan, before: &mut dyn FnMut(&str)) -> Made {
    let mut own = claims::Plan::new(plan.workers.clone(), &plan.directory);
    if plan.quick {
        own = own.quick();
    }
    Ok((vec![Box::new(Claims::run(&own, before)?)], true))
}

fn vias(plan: &Plan, before: &mut dyn FnMut(&str)) -> Made {
    let mut own = vias::Plan::new(plan.workers.clone(), &plan.directory);
    if plan.quick {
        own = own.quick();
    }
    let told = Vias::run(&own, before)?;
    let sound = told.rows.iter().all(|row| row.contradictions.is_empty());
    Ok((vec![Box::new(told)], sound))
}

fn models(plan: &Plan, before: &mut dyn FnMut(&str)) -> Made {
    let mut own = models::Plan::new(plan.workers.clone());
    if plan.quick {
        own = own.quick();
    }
    Ok((vec![Box::new(Models::run(&own, before)?)], true))
}

fn topologies(plan: &Plan, before: &mut dyn FnMut(&str)) -> Made {
    let mut own = topologies::Plan::new(plan.workers.clone(), &plan.directory);
    if plan.quick {
        own = own.quick();
    }
    Ok((vec![Box::new(Topologies::run(&own, before)?)], true))
}

/// The pictures of the textbooks: a way by copies, by a mapping, by reference, with the disk and a
/// worker, and one that completes.
const TRACED: [(Model, Topology, Via, CacheState); 7] = [
    (Model::EpollEdge, Topology::Single, Via::Copy, CacheState::Warm),
    (Model::EpollEdge, Topology::Single, Via::Mmap, CacheState::Warm),
    (Model::EpollEdge, Topology::Single, Via::Sendfile, CacheState::Warm),
    (Model::EpollEdge, Topology::Single, Via::Splice, CacheState::Warm),
    (Model::EpollEdge, Topology::Single, Via::Zerocopy, CacheState::Warm),
    (Model::EpollEdge, Topology::Workers, Via::Sendfile, CacheState::Cold),
    (Model::Uring, Topology::Single, Via::Copy, CacheState::Warm),
];

/// What this kernel refuses is left out: the other experiments have named it.
fn traces(plan: &Plan, before: &mut dyn FnMut(&str)) -> Made {
    let (mut reports, mut sound, mut refused): (Vec<Box<dyn Report>>, _, _) =
        (Vec::new(), true, None);
    for (model, topology, via, cache) in TRACED {
        before(&format!("{via} on {model} × {topology}, {cache}"));
        let own = trace::Plan::new(plan.workers.clone(), model, via, &plan.directory);
        match Trace::run(&trace::Plan { topology, cache, ..own }) {
            Ok(told) => {
                sound &= told.totals.contradictions.is_empty();
                reports.push(Box::new(told));
            }
            Err(error) => refused = Some(error),
        }
    }
    match refused {
        Some(error) if reports.is_empty() => Err(error),
        _ => Ok((reports, sound)),
    }
}

impl Report for All {
    fn to_json(&self) -> Value {
        let skipped = self.skipped.iter().map(|(what, why)| json!({ "what": what, "why": why }));
        json!({
            "schema": SCHEMA,
            "machine": machine(),
            "seconds": self.time.as_secs_f64(),
            "sound": self.sound,
            "skipped": skipped.collect::<Vec<_>>(),
            "reports": self.reports.iter().map(|report| report.to_json()).collect::<Vec<_>>(),
        })
    }

    /// A row a figure, for the experiments have different columns.
    fn to_csv(&self) -> String {
        let reports: Vec<_> = self.reports.iter().map(|report| report.to_json()).collect();
        long_table(&reports).to_csv()
    }

    fn to_markdown(&self) -> String {
        let each = self
            .reports
            .iter()
            .map(|report| format!("## {}\n\n{}\n", report.section().title, report.to_markdown()));
        each.collect()
    }

    fn sections(&self) -> Vec<Section> {
        let mut sections: Vec<_> = self.reports.iter().map(|report| report.section()).collect();
        if !self.skipped.is_empty() {
            let parts = vec![Part::Notes(crate::report::skipped_lines(&self.skipped))];
            sections.push(Section {
                anchor: "skipped".to_owned(),
                title: "Not tried".to_owned(),
                parts,
            });
        }
        sections
    }

    /// Everything under one heading.
    fn section(&self) -> Section {
        let mut parts = Vec::new();
        for section in self.sections() {
            parts.push(Part::Heading(section.title));
            parts.extend(section.parts);
        }
        Section { anchor: "all".to_owned(), title: "What Linux I/O costs".to_owned(), parts }
    }
}

impl fmt::Display for All {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for report in &self.reports {
            let title = report.section().title;
            writeln!(f, "{title}\n{}\n\n{report}", "=".repeat(title.chars().count()))?;
        }
        for line in crate::report::skipped_lines(&self.skipped) {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "{} reports in {:.0} s", self.reports.len(), self.time.as_secs_f64())
    }
}
