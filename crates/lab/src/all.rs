//! `karez lab all`: runs every experiment and combines their reports.
//!
//! # Limitations
//! An experiment heats the machine for the next one. Their order is fixed, so that each can be
//! compared with the same experiment of another run.

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

/// Schema of the JSON; the version rises when a field changes its meaning or is removed.
const SCHEMA: &str = "karez.lab.all/2";

/// Parameters of all experiments.
#[derive(Clone, Debug)]
pub struct AllPlan {
    /// How to start workers.
    pub workers: WorkerCommand,
    /// Directory of the test files, on a disk.
    pub directory: PathBuf,
    /// Whether to run shorter experiments.
    pub quick: bool,
}

/// Progress of the run.
#[derive(Clone, Copy, Debug)]
pub struct AllProgress<'a> {
    /// The current experiment.
    pub experiment: &'static str,
    /// Its current step.
    pub step: &'a str,
    /// Finished share of the expected total time, in thousandths.
    pub done: u64,
}

/// The combined report.
pub struct AllReports {
    /// The reports in the order of the experiments; some experiments have several.
    pub reports: Vec<Box<dyn Report>>,
    /// Experiments that could not be run, with the reason.
    pub skipped: Vec<(String, String)>,
    /// The total time.
    pub time: Duration,
    /// Whether no counter failed and no via contradicted its report.
    pub passed: bool,
}

/// Reports, and whether they contain no failure.
type ExperimentReports = Result<(Vec<Box<dyn Report>>, bool)>;

type RunExperiment = fn(&AllPlan, &mut dyn FnMut(&str)) -> ExperimentReports;

/// An experiment and its expected share of the total time.
struct Experiment {
    name: &'static str,
    weight: u64,
    run: RunExperiment,
}

const EXPERIMENTS: &[Experiment] = &[
    Experiment { name: "selftest", weight: 3, run: selftest },
    Experiment { name: "claims", weight: 15, run: claims },
    Experiment { name: "vias", weight: 25, run: vias },
    Experiment { name: "models", weight: 100, run: models },
    Experiment { name: "topologies", weight: 90, run: topologies },
    Experiment { name: "trace", weight: 5, run: traces },
];

impl AllPlan {
    /// Creates the parameters of the full experiments.
    #[must_use]
    pub fn new(workers: WorkerCommand, directory: &Path) -> Self {
        Self { workers, directory: directory.to_owned(), quick: false }
    }
}

impl AllReports {
    /// Runs every experiment and calls `on_step` before each step. A failed experiment is listed as
    /// skipped.
    pub fn run(plan: &AllPlan, mut on_step: impl FnMut(AllProgress<'_>)) -> Self {
        let begun = Instant::now();
        let mut all =
            Self { reports: Vec::new(), skipped: Vec::new(), time: Duration::ZERO, passed: true };
        let total_weight: u64 = EXPERIMENTS.iter().map(|one| one.weight).sum();
        let mut finished_weight = 0;
        for &Experiment { name, weight, run } in EXPERIMENTS {
            let done = finished_weight * 1000 / total_weight;
            match run(plan, &mut |step| on_step(AllProgress { experiment: name, step, done })) {
                Ok((reports, passed)) => {
                    all.reports.extend(reports);
                    all.passed &= passed;
                }
                Err(error) => all.skipped.push((name.to_owned(), error.to_string())),
            }
            finished_weight += weight;
        }
        all.time = begun.elapsed();
        all
    }
}

fn selftest(plan: &AllPlan, on_step: &mut dyn FnMut(&str)) -> ExperimentReports {
    let mut plan_of_experiment = selftest::SelfTestPlan::new(plan.workers.clone(), &plan.directory);
    if plan.quick {
        plan_of_experiment = plan_of_experiment.quick();
    }
    let report =
        SelfTest::run(&plan_of_experiment, |letter, name| on_step(&format!("{letter}. {name}")))?;
    let passed = report.passed();
    Ok((vec![Box::new(report)], passed))
}

fn claims(plan: &AllPlan, on_step: &mut dyn FnMut(&str)) -> ExperimentReports {
    let mut plan_of_experiment = claims::ClaimsPlan::new(plan.workers.clone(), &plan.directory);
    if plan.quick {
        plan_of_experiment = plan_of_experiment.quick();
    }
    Ok((vec![Box::new(Claims::run(&plan_of_experiment, on_step)?)], true))
}

fn vias(plan: &AllPlan, on_step: &mut dyn FnMut(&str)) -> ExperimentReports {
    let mut plan_of_experiment = vias::ViasPlan::new(plan.workers.clone(), &plan.directory);
    if plan.quick {
        plan_of_experiment = plan_of_experiment.quick();
    }
    let report = Vias::run(&plan_of_experiment, on_step)?;
    let passed = report.rows.iter().all(|row| row.contradictions.is_empty());
    Ok((vec![Box::new(report)], passed))
}

fn models(plan: &AllPlan, on_step: &mut dyn FnMut(&str)) -> ExperimentReports {
    let mut plan_of_experiment = models::ModelsPlan::new(plan.workers.clone());
    if plan.quick {
        plan_of_experiment = plan_of_experiment.quick();
    }
    Ok((vec![Box::new(Models::run(&plan_of_experiment, on_step)?)], true))
}

fn topologies(plan: &AllPlan, on_step: &mut dyn FnMut(&str)) -> ExperimentReports {
    let mut plan_of_experiment =
        topologies::TopologiesPlan::new(plan.workers.clone(), &plan.directory);
    if plan.quick {
        plan_of_experiment = plan_of_experiment.quick();
    }
    Ok((vec![Box::new(Topologies::run(&plan_of_experiment, on_step)?)], true))
}

/// The classic diagrams: a via by copies, by a mapping, by reference, with a disk read on a worker
/// thread, and on a completion model.
const TRACES: [(Model, Topology, Via, CacheState); 7] = [
    (Model::EpollEdge, Topology::Single, Via::Copy, CacheState::Warm),
    (Model::EpollEdge, Topology::Single, Via::Mmap, CacheState::Warm),
    (Model::EpollEdge, Topology::Single, Via::Sendfile, CacheState::Warm),
    (Model::EpollEdge, Topology::Single, Via::Splice, CacheState::Warm),
    (Model::EpollEdge, Topology::Single, Via::Zerocopy, CacheState::Warm),
    (Model::EpollEdge, Topology::Workers, Via::Sendfile, CacheState::Cold),
    (Model::Uring, Topology::Single, Via::Copy, CacheState::Warm),
];

/// Runs the traces. Combinations that the kernel does not support are omitted, because other
/// experiments report them.
fn traces(plan: &AllPlan, on_step: &mut dyn FnMut(&str)) -> ExperimentReports {
    let (mut reports, mut passed, mut refused): (Vec<Box<dyn Report>>, _, _) =
        (Vec::new(), true, None);
    for (model, topology, via, cache) in TRACES {
        on_step(&format!("{via} on {model} × {topology}, {cache}"));
        let plan_of_experiment =
            trace::TracePlan::new(plan.workers.clone(), model, via, &plan.directory);
        match Trace::run(&trace::TracePlan { topology, cache, ..plan_of_experiment }) {
            Ok(report) => {
                passed &= report.totals.contradictions.is_empty();
                reports.push(Box::new(report));
            }
            Err(error) => refused = Some(error),
        }
    }
    match refused {
        Some(error) if reports.is_empty() => Err(error),
        _ => Ok((reports, passed)),
    }
}

impl Report for AllReports {
    fn to_json(&self) -> Value {
        let skipped = self
            .skipped
            .iter()
            .map(|(subject, reason)| json!({ "subject": subject, "reason": reason }));
        json!({
            "schema": SCHEMA,
            "machine": machine(),
            "seconds": self.time.as_secs_f64(),
            "passed": self.passed,
            "skipped": skipped.collect::<Vec<_>>(),
            "reports": self.reports.iter().map(|report| report.to_json()).collect::<Vec<_>>(),
        })
    }

    /// Returns one row per figure, because the columns of the experiments differ.
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
                title: "Skipped".to_owned(),
                parts,
            });
        }
        sections
    }

    /// Combines all sections under one heading.
    fn section(&self) -> Section {
        let mut parts = Vec::new();
        for section in self.sections() {
            parts.push(Part::Heading(section.title));
            parts.extend(section.parts);
        }
        Section { anchor: "all".to_owned(), title: "The cost of Linux I/O".to_owned(), parts }
    }
}

impl fmt::Display for AllReports {
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
