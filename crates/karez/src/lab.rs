//! `karez lab`: runs experiments and writes their reports.

use indicatif::{ProgressBar, ProgressStyle};
use karez_lab::all::{AllPlan, AllReports};
use karez_lab::book;
use karez_lab::claims::{self, Claims};
use karez_lab::compare::Comparison;
use karez_lab::exercise::Exercise;
use karez_lab::models::{self, Models};
use karez_lab::selftest::{SelfTest, SelfTestPlan};
use karez_lab::topologies::{self, Topologies};
use karez_lab::trace::{self, Trace};
use karez_lab::vias::{self, Vias};
use karez_lab::{
    CacheState, Error, Language, ReceiveMode, Report, SCHEMAS, WorkerCommand, in_language,
};
use serde_json::Value;
use std::ffi::OsString;
use std::fmt::Display;
use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use crate::cli::{
    AllArgs, BookArgs, ClaimsArgs, CompareArgs, ExerciseArgs, Lab, ModelsArgs, OutputArgs,
    SelfTestArgs, TopologiesArgs, TraceArgs, ViasArgs, prediction,
};
use crate::stderr;
use crate::stdout::print;

/// Arguments that make this program a worker.
const WORKER: [&str; 2] = ["lab", "worker"];

/// Runs an experiment and returns whether it passed.
pub(crate) fn run(lab: &Lab) -> io::Result<bool> {
    match lab {
        Lab::Selftest(args) => selftest(args),
        Lab::Vias(args) => vias(args),
        Lab::Models(args) => models(args),
        Lab::Topologies(args) => topologies(args),
        Lab::Claims(args) => claims(args),
        Lab::Exercise(args) => exercise(args),
        Lab::All(args) => all(args),
        Lab::Book(args) => book(args),
        Lab::Compare(args) => compare(args),
        Lab::Trace(args) => trace(args),
        Lab::Schema { name } => schema(name.as_deref()).map(|()| true),
        Lab::Worker => karez_lab::work().map(|()| true),
    }
}

fn selftest(args: &SelfTestArgs) -> io::Result<bool> {
    let mut plan = SelfTestPlan::new(workers()?, &args.dir);
    plan.object.clone_from(&args.probe);
    if args.quick {
        plan = plan.quick();
    }
    let report = SelfTest::run(&plan, |letter, name| progress(&format!("{letter}. {name}")));
    progress("");
    let report = report?;
    write_report(&args.output, &report)?;
    Ok(report.passed())
}

fn vias(args: &ViasArgs) -> io::Result<bool> {
    let mut plan = vias::ViasPlan::new(workers()?, &args.dir);
    if args.quick {
        plan = plan.quick();
    }
    let given = |given: &[u64]| (!given.is_empty()).then(|| given.to_vec());
    plan.sizes = given(&args.size).unwrap_or(plan.sizes);
    plan.chunk = Some(u32::try_from(args.chunk).unwrap_or(u32::MAX));
    if !args.via.is_empty() {
        plan.vias.clone_from(&args.via);
    }
    if !args.cache.is_empty() {
        plan.caches.clone_from(&args.cache);
    }
    if args.copy_free_receiver {
        plan.receive_mode = ReceiveMode::Discard;
    }
    if !args.transport.is_empty() {
        plan.transports.clone_from(&args.transport);
    }
    plan.runs = args.runs.map_or(plan.runs, std::num::NonZeroUsize::get);
    let report = Vias::run(&plan, progress);
    progress("");
    let report = report?;
    write_report(&args.output, &report)?;
    Ok(report.rows.iter().all(|row| row.contradictions.is_empty()))
}

fn models(args: &ModelsArgs) -> io::Result<bool> {
    let mut plan = models::ModelsPlan::new(workers()?);
    if args.quick {
        plan = plan.quick();
    }
    if !args.model.is_empty() {
        plan.models.clone_from(&args.model);
    }
    let numbers = |given: &[NonZeroU32]| given.iter().map(|number| number.get()).collect();
    if !args.descriptors.is_empty() {
        plan.descriptors = numbers(&args.descriptors);
    }
    if !args.active.is_empty() {
        plan.active = numbers(&args.active);
    }
    plan.runs = args.runs.map_or(plan.runs, std::num::NonZeroUsize::get);
    let report = Models::run(&plan, progress);
    progress("");
    let report = report?;
    write_report(&args.output, &report)?;
    Ok(true)
}

fn topologies(args: &TopologiesArgs) -> io::Result<bool> {
    let mut plan = topologies::TopologiesPlan::new(workers()?, &args.dir);
    if args.quick {
        plan = plan.quick();
    }
    if !args.model.is_empty() {
        plan.models.clone_from(&args.model);
    }
    if !args.topology.is_empty() {
        plan.topologies.clone_from(&args.topology);
    }
    let clients = &mut plan.clients;
    clients.fast = args.fast.map_or(clients.fast, NonZeroU32::get);
    clients.slow = args.slow.unwrap_or(clients.slow);
    clients.blocking = args.blocking.unwrap_or(clients.blocking);
    plan.runs = args.runs.map_or(plan.runs, std::num::NonZeroUsize::get);
    let time = args.time_per_run.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    plan.milliseconds = time.unwrap_or(plan.milliseconds);
    let report = Topologies::run(&plan, progress);
    progress("");
    let report = report?;
    write_report(&args.output, &report)?;
    Ok(true)
}

fn claims(args: &ClaimsArgs) -> io::Result<bool> {
    let mut plan = claims::ClaimsPlan::new(workers()?, &args.dir);
    if args.quick {
        plan = plan.quick();
    }
    plan.only.clone_from(&args.claim);
    let report = Claims::run(&plan, progress);
    progress("");
    let report = report?;
    write_report(&args.output, &report)?;
    Ok(true)
}

/// Runs an exercise and returns whether the prediction was right; without a number, lists all.
fn exercise(args: &ExerciseArgs) -> io::Result<bool> {
    let language = language(&args.output);
    let Some(exercise) = args.number.and_then(Exercise::find) else {
        return print(in_language(language, Exercise::list).as_bytes()).map(|()| true);
    };
    let question = in_language(language, || exercise.question());
    let predicted = match args.predict {
        Some(predicted) => predicted,
        None => ask(&question)?,
    };
    let report = exercise.run(workers()?, &args.dir, predicted)?;
    write_report(&args.output, &report)?;
    if report.measured.is_err() {
        stderr::usage_error(&"the number cannot be measured here: the report has the reason");
    }
    Ok(report.is_right())
}

/// Shows a question on standard error and reads the predicted number from standard input.
fn ask(question: &str) -> io::Result<u64> {
    write!(io::stderr(), "{question}\n> ")?;
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    prediction(&line).or_else(|error| stderr::usage_error(&error))
}

fn all(args: &AllArgs) -> io::Result<bool> {
    let report = run_all(args.quick, &args.dir)?;
    write_report(&args.output, &report)?;
    Ok(report.passed)
}

/// Runs every experiment, with a progress bar.
fn run_all(quick: bool, directory: &Path) -> io::Result<AllReports> {
    let plan = AllPlan { quick, ..AllPlan::new(workers()?, directory) };
    let bar = ProgressBar::new(1000);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {elapsed} {wide_msg}") {
        bar.set_style(style);
    }
    let report = AllReports::run(&plan, |progress| {
        bar.set_position(progress.done);
        bar.set_message(format!("{}: {}", progress.experiment, progress.step));
    });
    bar.finish_and_clear();
    Ok(report)
}

/// Writes the book. Figures that the reports lack are listed on standard error.
fn book(args: &BookArgs) -> io::Result<bool> {
    let reports = if args.report.is_empty() {
        vec![run_all(args.quick, &args.dir)?.to_json()]
    } else {
        let read = args.report.iter().map(|path| read(path)).collect::<io::Result<Vec<_>>>();
        read.unwrap_or_else(|error| stderr::usage_error(&error))
    };
    let languages = args.lang.as_ref().map_or(Language::ALL, std::slice::from_ref);
    let missing = book::write(&args.directory, &reports, languages)?;
    for figure in missing {
        stderr::warning(&format_args!("not in the reports: {figure}"));
    }
    Ok(true)
}

/// Compares two reports like diff(1): returns whether nothing changed; incomparable files are a
/// usage error.
fn compare(args: &CompareArgs) -> io::Result<bool> {
    let compared = read(&args.before)
        .and_then(|before| Comparison::of(&before, &read(&args.after)?).map_err(io::Error::from));
    let report = compared.unwrap_or_else(|error| stderr::usage_error(&error));
    write_report(&args.output, &report)?;
    Ok(!report.differs())
}

/// Reads a report written by `--json`.
fn read(path: &Path) -> io::Result<Value> {
    let read_error = |error: &dyn Display| Error::about("read", path.display(), error);
    let text = fs::read(path).map_err(|error| read_error(&error))?;
    let report = serde_json::from_slice(&text).map_err(|error| read_error(&error))?;
    Ok(report)
}

fn trace(args: &TraceArgs) -> io::Result<bool> {
    let plan = trace::TracePlan {
        topology: args.topology,
        transport: args.transport,
        file: args.file.clone(),
        bytes: args.size,
        cache: if args.cold { CacheState::Cold } else { CacheState::Warm },
        object: args.probe.clone(),
        width: width().unwrap_or(80),
        ..trace::TracePlan::new(workers()?, args.model, args.via, &args.dir)
    };
    let report = Trace::run(&plan)?;
    let output = if is_stdout(&args.svg) { save_all } else { write_report };
    output(&args.output, &report)?;
    if let Some(path) = &args.svg {
        save(path, &in_language(language(&args.output), || report.to_svg()))?;
    }
    Ok(report.totals.contradictions.is_empty())
}

/// Returns the width of the terminal, if standard output is one.
fn width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|&columns| columns > 0)
}

/// Prints a schema, or the names of all.
fn schema(name: Option<&str>) -> io::Result<()> {
    match SCHEMAS.iter().find(|(known, _)| Some(*known) == name) {
        Some((_, schema)) => print(schema.as_bytes()),
        None => SCHEMAS.iter().try_for_each(|(known, _)| print(format!("{known}\n").as_bytes())),
    }
}

/// Writes a report in the requested formats, and as text unless one of them goes to standard
/// output.
fn write_report(output: &OutputArgs, report: &dyn Report) -> io::Result<()> {
    let to_stdout =
        [&output.json, &output.csv, &output.markdown, &output.html].into_iter().any(is_stdout);
    if !to_stdout {
        print(in_language(language(output), || report.to_string()).as_bytes())?;
    }
    save_all(output, report)
}

/// Returns the language of the texts of a report.
fn language(output: &OutputArgs) -> Language {
    output.lang.unwrap_or_else(|| Language::of_locale(|name| std::env::var(name).ok()))
}

fn is_stdout(path: &Option<PathBuf>) -> bool {
    path.as_deref() == Some(Path::new("-"))
}

/// Writes a report in the requested formats.
fn save_all(output: &OutputArgs, report: &dyn Report) -> io::Result<()> {
    let form: [(_, &dyn Fn() -> String); 4] = [
        (&output.json, &|| format!("{:#}\n", report.to_json())),
        (&output.csv, &|| report.to_csv()),
        (&output.markdown, &|| in_language(language(output), || report.to_markdown())),
        (&output.html, &|| {
            in_language(language(output), || karez_lab::html_page(&report.sections()))
        }),
    ];
    for (path, text) in form {
        if let Some(path) = path {
            save(path, &text())?;
        }
    }
    Ok(())
}

/// Returns the command that starts this program as a worker.
fn workers() -> io::Result<WorkerCommand> {
    Ok(WorkerCommand::new(std::env::current_exe()?, WORKER.map(OsString::from)))
}

/// Shows the current step on a line of the terminal, if standard error is one.
fn progress(step: &str) {
    let mut out = io::stderr();
    if out.is_terminal() {
        let _best_effort = write!(out, "\r\x1b[K{step}").and_then(|()| out.flush());
    }
}

/// Writes a report to a file, or to standard output for `-`.
fn save(path: &Path, text: &str) -> io::Result<()> {
    if path == Path::new("-") {
        return print(text.as_bytes());
    }
    let write_error = |error| Error::about("write", path.display(), error);
    fs::write(path, text).map_err(write_error).map_err(io::Error::from)
}
