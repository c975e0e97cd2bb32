//! Errors on standard error: one line each, as clap writes its own.

use std::fmt::Display;
use std::io::Write as _;
use std::process;

use crate::style;

/// Says what went wrong.
pub(crate) fn about(error: &dyn Display) {
    let mark = style::on_stderr("1;31", "error:");
    // There is nowhere left to complain about standard error.
    let _said = writeln!(std::io::stderr(), "{mark} {error}");
}

/// Prints a warning: something is odd, but no failure.
pub(crate) fn warn(warning: &dyn Display) {
    let mark = style::on_stderr("1;33", "warning:");
    let _said = writeln!(std::io::stderr(), "{mark} {warning}");
}

/// Says why a command line makes no sense, and exits with 2 as clap does.
pub(crate) fn and_exit_for_usage(error: &dyn Display) -> ! {
    about(error);
    process::exit(2)
}
