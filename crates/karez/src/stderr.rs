//! Errors and warnings on standard error, one line each, in the format of clap.

use rustix::io::{Errno, write};
use std::fmt::Display;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::process;
use std::sync::OnceLock;

use crate::style;

/// Maximum number of consecutive interruptions before a line is dropped.
const ATTEMPTS: u32 = 16;

/// Also gets each error.
static REPORT: OnceLock<fn(&str)> = OnceLock::new();

/// Has errors reported to another process, too.
pub(crate) fn report_by(report: fn(&str)) {
    let _already = REPORT.set(report);
}

/// Prints a message.
pub(crate) fn notice(text: &dyn Display) {
    line("karez:", text);
}

/// Prints an error.
pub(crate) fn error(error: &dyn Display) {
    if let Some(report) = REPORT.get() {
        report(&error.to_string());
    }
    line(&style::on_stderr("1;31", "error:"), error);
}

/// Prints a warning.
pub(crate) fn warning(warning: &dyn Display) {
    line(&style::on_stderr("1;33", "warning:"), warning);
}

/// Prints a usage error, and exits with 2 as clap does.
pub(crate) fn usage_error(error: &dyn Display) -> ! {
    self::error(error);
    process::exit(2)
}

fn line(label: &str, message: &dyn Display) {
    // An error of standard error cannot be reported.
    let line = format!("{label} {message}\n");
    let mut interrupted = 0;
    let _written = write_all(io::stderr().as_fd(), line.as_bytes(), || {
        interrupted += 1;
        interrupted == ATTEMPTS
    });
}

/// Writes all bytes. At each interruption (`EINTR`) it calls `gives_up`, and stops if that returns
/// true. The standard library retries without a limit, so a process that is interrupted repeatedly
/// would not handle its signals.
pub(crate) fn write_all(
    to: BorrowedFd<'_>,
    mut bytes: &[u8],
    mut gives_up: impl FnMut() -> bool,
) -> io::Result<()> {
    while !bytes.is_empty() {
        match write(to, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) if !gives_up() => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}
