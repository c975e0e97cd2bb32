//! Errors on standard error: one line each, as clap writes its own.

use rustix::io::{Errno, write};
use std::fmt::Display;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::process;

use crate::style;

/// So often in a row a write may be interrupted before the line is given up.
const ATTEMPTS: u32 = 16;

/// Says what went wrong.
pub(crate) fn about(error: &dyn Display) {
    line(&style::on_stderr("1;31", "error:"), error);
}

/// Prints a warning: something is odd, but no failure.
pub(crate) fn warn(warning: &dyn Display) {
    line(&style::on_stderr("1;33", "warning:"), warning);
}

fn line(mark: &str, what: &dyn Display) {
    // There is nowhere left to complain about standard error.
    let line = format!("{mark} {what}\n");
    let mut interrupted = 0;
    let _said = write_all(io::stderr().as_fd(), line.as_bytes(), || {
        interrupted += 1;
        interrupted == ATTEMPTS
    });
}

/// Writes all bytes, and asks at each interruption (`EINTR`) whether to give up. The standard
/// library never does, so a process that is interrupted again and again would obey no signal.
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

/// Says why a command line makes no sense, and exits with 2 as clap does.
pub(crate) fn and_exit_for_usage(error: &dyn Display) -> ! {
    about(error);
    process::exit(2)
}
