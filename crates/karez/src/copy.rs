//! `karez copy`: from arguments to copied files and a report.

use karez_copy::{Options, copy};
use rustix::fs::{Stat, fstat, stat};
use rustix::process::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::cli::Copy;
use crate::complain;
use crate::copied::Copied;
use crate::descriptors;
use crate::progress::Progress;

/// Threads on more cores than this wait for the same disk.
const MOST_CORES: usize = 16;

/// Copies, and says what became of it.
pub(crate) fn run(args: &Copy) -> ExitCode {
    if args.sources.len() > 1 && !args.target.is_dir() {
        let target = &args.target;
        complain::and_exit_for_usage(&format!(
            "several files go into a directory, which {target:?} is not"
        ));
    }
    descriptors::raise_limit();
    let is_over = Arc::new(AtomicBool::new(false));
    let signal = match first_signal(&is_over) {
        Ok(signal) => signal,
        Err(error) => return failed(&error),
    };
    let progress = Progress::new(args.quiet, Arc::clone(&signal));
    let options = options(args);
    let account = copy(&args.sources, &args.target, &options, &progress);
    let (time, failures) = progress.end();
    // A signal that comes now ends the program at once: a reader of the report may be stuck.
    is_over.store(true, Ordering::Relaxed);
    let signal = signal.load(Ordering::Relaxed);
    let copied = Copied { account: &account, options, time, failures, signal };
    if let Err(error) = say(args, &copied) {
        return failed(&error);
    }
    if signal != 0 {
        // As if it had not been caught, so that a shell knows.
        let number = i32::try_from(signal).unwrap_or(SIGTERM);
        let _still_here = signal_hook::low_level::emulate_default_handler(number);
    }
    if account.is_complete() { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

fn options(args: &Copy) -> Options {
    let cores = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let most = NonZeroUsize::new(MOST_CORES).unwrap_or(cores);
    Options {
        via: args.via,
        cache: args.cache,
        recursive: args.recursive,
        archive: args.archive,
        keep_existing: args.no_clobber,
        sync: args.sync,
        in_place: args.in_place,
        standard_streams: true,
        jobs: args.jobs.unwrap_or(cores.min(most)),
    }
}

/// Where the number of a signal that asks for the end will be. Threads look there between two
/// pieces, so that what is not whole goes with its name. Once it `is_over`, the signal acts as if
/// it had not been caught.
fn first_signal(is_over: &Arc<AtomicBool>) -> io::Result<Arc<AtomicUsize>> {
    let signal = Arc::new(AtomicUsize::new(0));
    let ignored = ignored_signals();
    // What is ignored from the start is to stay so: nohup(1), or `&` in a script.
    let heeded = |number: &i32| ignored >> (number - 1) & 1 == 0;
    for number in [SIGINT, SIGTERM, SIGHUP].into_iter().filter(heeded) {
        let value = usize::try_from(number).unwrap_or(usize::MAX);
        signal_hook::flag::register_conditional_default(number, Arc::clone(is_over))?;
        signal_hook::flag::register_usize(number, Arc::clone(&signal), value)?;
    }
    // Who heeds it gets `EFBIG` (setrlimit(2)), an error of one file like any other.
    signal_hook::flag::register(Signal::XFSZ.as_raw(), Arc::default())?;
    Ok(signal)
}

/// The bits of proc_pid_status(5); none where there is no /proc.
fn ignored_signals() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// The report, for a person or for a program.
fn say(args: &Copy, copied: &Copied<'_>) -> io::Result<()> {
    let said = match (args.json, args.quiet) {
        (true, _) => format!("{}\n", copied.json()),
        (false, true) => return Ok(()),
        (false, false) => copied.to_string(),
    };
    // Interrupted writes go on, unless the copy ended by a signal.
    let gives_up = || copied.signal != 0;
    let to_stderr = takes_standard_output(&args.target);
    let written = match to_stderr {
        true => complain::write_all(io::stderr().as_fd(), said.as_bytes(), gives_up),
        false => complain::write_all(io::stdout().as_fd(), said.as_bytes(), gives_up),
    };
    match written {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        // Whoever read it has had enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}

/// Whether the bytes of the copy go to standard output, under its own name or another.
fn takes_standard_output(target: &Path) -> bool {
    let stdout = fstat(io::stdout());
    let same = |there: &Stat| {
        stdout.is_ok_and(|out| (out.st_dev, out.st_ino) == (there.st_dev, there.st_ino))
    };
    target == Path::new("-") || stat(target).is_ok_and(|there| same(&there))
}

fn failed(error: &io::Error) -> ExitCode {
    complain::about(error);
    ExitCode::from(1)
}
