//! `karez copy`: from arguments to copied files and a report.

use karez_copy::{Options, copy};
use rustix::fs::{Stat, fstat, stat};
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::cli::CopyArgs;
use crate::copy_report::CopyReport;
use crate::first_signal;
use crate::progress::Progress;
use crate::rlimit;
use crate::stderr;
use crate::stdout;

/// The default number of jobs on a machine with more cores: more would wait for the same disk.
const MAX_DEFAULT_JOBS: usize = 16;

/// Copies, and prints the report.
pub(crate) fn run(args: &CopyArgs) -> ExitCode {
    if args.sources.len() > 1 && !args.target.is_dir() {
        let target = &args.target;
        stderr::usage_error(&format!(
            "{target:?} is not a directory, and there are several sources"
        ));
    }
    rlimit::raise_limit();
    let is_over = Arc::new(AtomicBool::new(false));
    let signal = match first_signal::catch(&is_over) {
        Ok(signal) => signal,
        Err(error) => return failed(&error),
    };
    let progress = Progress::new(args.quiet, Arc::clone(&signal));
    let options = options(args);
    let summary = copy(&args.sources, &args.target, &options, &progress);
    let (time, failures) = progress.end();
    // From now on a signal ends the process at once: the reader of the report may be blocked.
    is_over.store(true, Ordering::Relaxed);
    let signal = signal.load(Ordering::Relaxed);
    let report = CopyReport { summary: &summary, options, time, failures, signal };
    if let Err(error) = print(args, &report) {
        return failed(&error);
    }
    first_signal::end_by(signal);
    if summary.is_complete() { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

fn options(args: &CopyArgs) -> Options {
    let cores = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let most = NonZeroUsize::new(MAX_DEFAULT_JOBS).unwrap_or(cores);
    Options::new()
        .via(args.via)
        .cache(args.cache)
        .recursive(args.recursive)
        .archive(args.archive)
        .keep_existing(args.no_clobber)
        .sync(args.sync)
        .in_place(args.in_place)
        .standard_streams(true)
        .jobs(args.jobs.unwrap_or(cores.min(most)).get())
}

/// Prints the report, as text or as JSON.
fn print(args: &CopyArgs, report: &CopyReport<'_>) -> io::Result<()> {
    let text = match (args.json, args.quiet) {
        (true, _) => format!("{}\n", report.json()),
        (false, true) => return Ok(()),
        (false, false) => report.to_string(),
    };
    // An interrupted write is resumed, unless a signal stopped the copy.
    let gives_up = || report.signal != 0;
    let to_stderr = takes_standard_output(&args.target);
    let written = match to_stderr {
        true => stderr::write_all(io::stderr().as_fd(), text.as_bytes(), gives_up),
        false => stderr::write_all(io::stdout().as_fd(), text.as_bytes(), gives_up),
    };
    match written {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        // The reader closed the pipe.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.map_err(|error| stdout::failed("write", &error)),
    }
}

/// Returns whether the copy is written to standard output, by any name.
fn takes_standard_output(target: &Path) -> bool {
    let stdout = fstat(io::stdout());
    let same = |there: &Stat| {
        stdout.is_ok_and(|out| (out.st_dev, out.st_ino) == (there.st_dev, there.st_ino))
    };
    target == Path::new("-") || stat(target).is_ok_and(|there| same(&there))
}

fn failed(error: &io::Error) -> ExitCode {
    stderr::error(error);
    ExitCode::from(1)
}
