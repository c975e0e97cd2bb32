//! `karez lab`: from arguments to an experiment and its report.

use karez_lab::selftest::{Plan, SelfTest};
use karez_lab::{Error, Workers};
use std::ffi::OsString;
use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use crate::cli::{Lab, SelfTestArgs};

/// The word that makes this program a worker.
const WORKER: [&str; 2] = ["lab", "worker"];

/// Runs the experiment asked for; whether what it was to show was shown.
pub(crate) fn run(lab: &Lab) -> io::Result<bool> {
    match lab {
        Lab::Selftest(args) => selftest(args),
        Lab::Worker => karez_lab::work().map(|()| true),
    }
}

fn selftest(args: &SelfTestArgs) -> io::Result<bool> {
    let mut plan = Plan::new(workers()?, &args.dir);
    plan.object.clone_from(&args.probe);
    if args.quick {
        plan.bytes = 8 << 20;
    }
    let told = SelfTest::run(&plan, |letter, name| progress(&format!("{letter}. {name}")));
    progress("");
    let told = told?;
    let json = args.json.as_deref();
    if json != Some(Path::new("-")) {
        print(&told.to_string())?;
    }
    if let Some(path) = json {
        save(path, &format!("{:#}\n", told.to_json()))?;
    }
    Ok(told.passed())
}

/// A worker is this program once more.
fn workers() -> io::Result<Workers> {
    Ok(Workers::new(std::env::current_exe()?, WORKER.map(OsString::from)))
}

/// What is being done now, on a line that is written over; only where somebody looks.
fn progress(what: &str) {
    let mut out = io::stderr();
    if out.is_terminal() {
        let _nobody_looks = write!(out, "\r\x1b[K{what}").and_then(|()| out.flush());
    }
}

/// Writes a report to a file, or to standard output for `-`.
fn save(path: &Path, text: &str) -> io::Result<()> {
    if path == Path::new("-") {
        return print(text);
    }
    let complaint = |error| Error::about("write", path.display(), error);
    fs::write(path, text).map_err(complaint).map_err(io::Error::from)
}

/// A reader that closes early, such as `head`, has had enough: that is no error.
fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}
