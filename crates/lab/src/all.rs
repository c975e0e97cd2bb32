//! `karez lab all`: runs every experiment and combines their reports.
//!
//! # Limitations
//! An experiment heats the machine for the next one. Their order is fixed, so that each can be
//! compared with the same experiment of another run.

pub(crate) mod answer;
mod methods;
pub(crate) mod textbook;

use karez_reactor::{Model, Topology};
use karez_transfer::Via;
use serde_json::{Value, json};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::claims::{self, Claims};
use crate::compare::long_table;
use crate::error::Result;
use crate::language::text;
use crate::machine::machine;
use crate::models::{self, Models};
use crate::report::{Part, Report, Section};
use crate::selftest::{self, SelfTest};
use crate::svg::columns;
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
#[derive(Default)]
pub struct AllReports {
    /// The self-test of the counters.
    pub selftest: Option<SelfTest>,
    /// The claims.
    pub claims: Option<Claims>,
    /// The vias.
    pub vias: Option<Vias>,
    /// The models.
    pub models: Option<Models>,
    /// The topologies.
    pub topologies: Option<Topologies>,
    /// The traces.
    pub traces: Vec<Trace>,
    /// Experiments that could not be run, with the reason.
    pub skipped: Vec<(String, String)>,
    /// The total time.
    pub time: Duration,
    /// Whether no counter failed and no via contradicted its report.
    pub passed: bool,
}

/// Runs an experiment into the reports.
type RunExperiment = fn(&AllPlan, &mut dyn FnMut(&str), &mut AllReports) -> Result<()>;

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
        let mut all = Self { passed: true, ..Self::default() };
        let total_weight: u64 = EXPERIMENTS.iter().map(|one| one.weight).sum();
        let mut finished_weight = 0;
        for &Experiment { name, weight, run } in EXPERIMENTS {
            let done = finished_weight * 1000 / total_weight;
            let mut report = |step: &str| on_step(AllProgress { experiment: name, step, done });
            if let Err(error) = run(plan, &mut report, &mut all) {
                all.skipped.push((name.to_owned(), error.to_string()));
            }
            finished_weight += weight;
        }
        all.time = begun.elapsed();
        all
    }

    /// Returns the reports in the order of the experiments; some experiments have several.
    #[must_use]
    pub fn reports(&self) -> Vec<&dyn Report> {
        let mut reports: Vec<&dyn Report> = Vec::new();
        reports.extend(self.selftest.as_ref().map(|report| report as &dyn Report));
        reports.extend(self.claims.as_ref().map(|report| report as &dyn Report));
        reports.extend(self.vias.as_ref().map(|report| report as &dyn Report));
        reports.extend(self.models.as_ref().map(|report| report as &dyn Report));
        reports.extend(self.topologies.as_ref().map(|report| report as &dyn Report));
        reports.extend(self.traces.iter().map(|report| report as &dyn Report));
        reports
    }
}

fn selftest(plan: &AllPlan, on_step: &mut dyn FnMut(&str), all: &mut AllReports) -> Result<()> {
    let mut plan_of_experiment = selftest::SelfTestPlan::new(plan.workers.clone(), &plan.directory);
    if plan.quick {
        plan_of_experiment = plan_of_experiment.quick();
    }
    let report =
        SelfTest::run(&plan_of_experiment, |letter, name| on_step(&format!("{letter}. {name}")))?;
    all.passed &= report.passed();
    all.selftest = Some(report);
    Ok(())
}

fn claims(plan: &AllPlan, on_step: &mut dyn FnMut(&str), all: &mut AllReports) -> Result<()> {
    let mut plan_of_experiment = claims::ClaimsPlan::new(plan.workers.clone(), &plan.directory);
    if plan.quick {
        plan_of_experiment = plan_of_experiment.quick();
    }
    all.claims = Some(Claims::run(&plan_of_experiment, on_step)?);
    Ok(())
}

fn vias(plan: &AllPlan, on_step: &mut dyn FnMut(&str), all: &mut AllReports) -> Result<()> {
    let mut plan_of_experiment = vias::ViasPlan::new(plan.workers.clone(), &plan.directory);
    if plan.quick {
        plan_of_experiment = plan_of_experiment.quick();
    }
    let report = Vias::run(&plan_of_experiment, on_step)?;
    all.passed &= report.rows.iter().all(|row| row.contradictions.is_empty());
    all.vias = Some(report);
    Ok(())
}

fn models(plan: &AllPlan, on_step: &mut dyn FnMut(&str), all: &mut AllReports) -> Result<()> {
    let mut plan_of_experiment = models::ModelsPlan::new(plan.workers.clone());
    if plan.quick {
        plan_of_experiment = plan_of_experiment.quick();
    }
    all.models = Some(Models::run(&plan_of_experiment, on_step)?);
    Ok(())
}

fn topologies(plan: &AllPlan, on_step: &mut dyn FnMut(&str), all: &mut AllReports) -> Result<()> {
    let mut plan_of_experiment =
        topologies::TopologiesPlan::new(plan.workers.clone(), &plan.directory);
    if plan.quick {
        plan_of_experiment = plan_of_experiment.quick();
    }
    all.topologies = Some(Topologies::run(&plan_of_experiment, on_step)?);
    Ok(())
}

/// The classic diagrams: a via by copies, by a mapping, by reference, past the page cache; the three
/// layouts of a Reactor with a disk read; and a completion model.
const TRACES: [(Model, Topology, Via, CacheState); 10] = [
    (Model::EpollEdge, Topology::Single, Via::Copy, CacheState::Warm),
    (Model::EpollEdge, Topology::Single, Via::Mmap, CacheState::Warm),
    (Model::EpollEdge, Topology::Single, Via::Sendfile, CacheState::Warm),
    (Model::EpollEdge, Topology::Single, Via::Splice, CacheState::Warm),
    (Model::EpollEdge, Topology::Single, Via::Direct, CacheState::Cold),
    (Model::EpollEdge, Topology::Single, Via::Zerocopy, CacheState::Warm),
    (Model::EpollEdge, Topology::Single, Via::Sendfile, CacheState::Cold),
    (Model::EpollEdge, Topology::Workers, Via::Sendfile, CacheState::Cold),
    (Model::EpollEdge, Topology::Multi, Via::Sendfile, CacheState::Cold),
    (Model::Uring, Topology::Single, Via::Copy, CacheState::Warm),
];

/// Runs the traces. Combinations that the kernel does not support are omitted, because other
/// experiments report them.
fn traces(plan: &AllPlan, on_step: &mut dyn FnMut(&str), all: &mut AllReports) -> Result<()> {
    let mut refused = None;
    for (model, topology, via, cache) in TRACES {
        on_step(&format!("{via} on {model} × {topology}, {cache}"));
        let plan_of_experiment =
            trace::TracePlan::new(plan.workers.clone(), model, via, &plan.directory);
        match Trace::run(&trace::TracePlan { topology, cache, ..plan_of_experiment }) {
            Ok(report) => {
                all.passed &= report.totals.contradictions.is_empty();
                all.traces.push(report);
            }
            Err(error) => refused = Some(error),
        }
    }
    match refused {
        Some(error) if all.traces.is_empty() => Err(error),
        _ => Ok(()),
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
            "reports": self.reports().iter().map(|report| report.to_json()).collect::<Vec<_>>(),
        })
    }

    /// Returns one row per figure, because the columns of the experiments differ.
    fn to_csv(&self) -> String {
        let reports: Vec<_> = self.reports().iter().map(|report| report.to_json()).collect();
        long_table(&reports).to_csv()
    }

    fn to_markdown(&self) -> String {
        let reports = self.reports();
        let each = reports
            .iter()
            .map(|report| format!("## {}\n\n{}\n", report.section().title, report.to_markdown()));
        each.collect()
    }

    /// Returns the answer first, and the self-test last.
    fn sections(&self) -> Vec<Section> {
        let mut sections = vec![answer::section(self.vias.as_ref(), self.claims.as_ref())];
        sections.push(methods::section(&self.traces));
        sections.extend(self.models.as_ref().map(Report::section));
        sections.extend(self.topologies.as_ref().map(Report::section));
        let is_picture = |trace: &&Trace| {
            methods::picture(&self.traces, trace.via).is_some_and(|one| std::ptr::eq(one, *trace))
        };
        let more = self.traces.iter().filter(|trace| !is_picture(trace));
        sections.extend(more.map(Report::section));
        sections.extend(self.claims.as_ref().map(Report::section));
        sections.extend(self.vias.as_ref().map(Report::section));
        if !self.skipped.is_empty() {
            let parts = vec![Part::Notes(crate::report::skipped_lines(&self.skipped))];
            sections.push(Section { anchor: "skipped".to_owned(), title: text!("Skipped"), parts });
        }
        sections.extend(self.selftest.as_ref().map(Report::section));
        sections
    }

    /// Combines all sections under one heading.
    fn section(&self) -> Section {
        let mut parts = Vec::new();
        for section in self.sections() {
            parts.push(Part::Heading(section.anchor, section.title));
            parts.extend(section.parts);
        }
        Section { anchor: "all".to_owned(), title: text!("The cost of Linux I/O"), parts }
    }
}

impl fmt::Display for AllReports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for report in self.reports() {
            let title = report.section().title;
            writeln!(f, "{title}\n{}\n\n{report}", "=".repeat(columns(&title)))?;
        }
        for line in crate::report::skipped_lines(&self.skipped) {
            writeln!(f, "{line}")?;
        }
        let seconds = format!("{:.0}", self.time.as_secs_f64());
        let number = self.reports().len();
        writeln!(
            f,
            "{}",
            text!("{number} reports in {seconds} s", number = number, seconds = seconds)
        )
    }
}
