//! `karez precompress`: from arguments to compressed files and a report.

use indicatif::HumanBytes;
use karez_compress::{Action, Coding, Error, Observer, Options, Summary, precompress};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::cli::PrecompressArgs;
use crate::first_signal;
use crate::progress_bar::Bar;
use crate::stderr;
use crate::stdout;

/// Compresses, and prints the report.
pub(crate) fn run(args: &PrecompressArgs) -> ExitCode {
    let is_over = Arc::new(AtomicBool::new(false));
    let signal = match first_signal::catch(&is_over) {
        Ok(signal) => signal,
        Err(error) => return failed(&error),
    };
    let watch = Watch {
        bar: Bar::new(args.quiet),
        lines: (args.verbose || args.dry_run) && !args.json && !args.quiet,
        dry_run: args.dry_run,
        failures: Mutex::default(),
        signal,
    };
    let begin = Instant::now();
    let summary = precompress(&args.directory, &options(args), &watch);
    watch.bar.end();
    is_over.store(true, Ordering::Relaxed);
    let failures = watch.failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    let report = match (args.json, args.quiet) {
        (true, _) => format!("{}\n", as_json(&summary, begin.elapsed(), &failures, args.dry_run)),
        (false, true) => String::new(),
        (false, false) => as_text(&summary, args.dry_run),
    };
    if let Err(error) = stdout::print(report.as_bytes()) {
        return failed(&error);
    }
    first_signal::end_by(watch.signal.load(Ordering::Relaxed));
    if summary.is_complete() { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

fn options(args: &PrecompressArgs) -> Options {
    let options = Options::new()
        .level(args.level.into())
        .min_size(args.min_size)
        .hidden(args.hidden)
        .dry_run(args.dry_run);
    let options = match args.jobs {
        Some(jobs) => options.jobs(jobs),
        None => options,
    };
    let mut codings: Vec<Coding> = Vec::new();
    for coding in args.codings.iter().map(|&choice| choice.into()) {
        if !codings.contains(&coding) {
            codings.push(coding);
        }
    }
    if codings.is_empty() { options } else { options.codings(codings) }
}

/// Returns the report as text: a line for each coding.
fn as_text(summary: &Summary, dry_run: bool) -> String {
    let (written, removed) = verbs(dry_run);
    let mut text = format!("{} files\n", summary.files);
    for of in &summary.codings {
        let (before, after) = (HumanBytes(of.bytes_before), HumanBytes(of.bytes_after));
        // A write to a String succeeds.
        let _ = writeln!(
            text,
            "{}: {} {written} ({before} to {after}), {} current, {} not smaller, {} {removed}",
            of.coding.token(),
            of.written,
            of.current,
            of.not_smaller,
            of.removed,
        );
    }
    text
}

/// Returns the report as one JSON object.
fn as_json(summary: &Summary, time: Duration, failures: &[String], dry_run: bool) -> Value {
    let codings = summary.codings.iter().map(|of| {
        json!({
            "coding": of.coding.token(),
            "written": of.written,
            "current": of.current,
            "not_smaller": of.not_smaller,
            "removed": of.removed,
            "bytes_before": of.bytes_before,
            "bytes_after": of.bytes_after,
        })
    });
    json!({
        "files": summary.files,
        "codings": codings.collect::<Vec<_>>(),
        "dry_run": dry_run,
        "seconds": time.as_secs_f64(),
        "stopped": summary.stopped,
        "errors": failures,
    })
}

/// Returns what happens to a compressed file.
fn verbs(dry_run: bool) -> (&'static str, &'static str) {
    if dry_run { ("to write", "to remove") } else { ("written", "removed") }
}

fn failed(error: &std::io::Error) -> ExitCode {
    stderr::error(error);
    ExitCode::from(1)
}

/// The observer: a progress bar, errors, and with `lines` a line for each file that changes.
struct Watch {
    bar: Bar,
    lines: bool,
    dry_run: bool,
    failures: Mutex<Vec<String>>,
    /// The signal that stops the work, or 0.
    signal: Arc<AtomicUsize>,
}

impl Observer for Watch {
    fn found(&self, bytes: u64) {
        self.bar.add_length(bytes);
    }

    fn advanced(&self, bytes: u64) {
        self.bar.advance(bytes);
    }

    fn done(&self, original: &Path, coding: Coding, action: Action) {
        let (written, removed) = verbs(self.dry_run);
        let name = || format!("{}{}", original.display(), coding.suffix());
        let line = match action {
            Action::Written { bytes } => format!("{written} {} ({})\n", name(), HumanBytes(bytes)),
            Action::Removed => format!("{removed} {}\n", name()),
            Action::Current | Action::NotSmaller => return,
        };
        if self.lines {
            // The report at the end fails in the same way.
            self.bar.suspend(|| drop(stdout::print(line.as_bytes())));
        }
    }

    fn failed(&self, error: &Error) {
        self.bar.suspend(|| stderr::error(error));
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.push(error.to_string());
    }

    fn should_stop(&self) -> bool {
        self.signal.load(Ordering::Relaxed) != 0
    }
}
