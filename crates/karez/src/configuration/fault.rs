//! Faults of a configuration: all of them are collected, each with its line.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

/// A fault of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    file: Option<PathBuf>,
    line: Option<usize>,
    text: String,
}

/// The faults of a configuration.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    file: Option<PathBuf>,
    all: Vec<Fault>,
}

impl Faults {
    /// Sets the file that lines belong to.
    pub(super) fn of_file(&mut self, file: &Path) {
        self.file = Some(file.to_owned());
    }

    /// Adds a fault.
    pub(crate) fn add(&mut self, line: Option<usize>, text: &str) {
        let fault = Fault { file: self.file.clone(), line, text: text.to_owned() };
        if !self.all.contains(&fault) {
            self.all.push(fault);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Returns the faults in the order of their lines.
    pub(crate) fn into_sorted(mut self) -> Vec<Fault> {
        self.all.sort_by_key(|fault| fault.line);
        self.all
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}:", file.display())?;
            if let Some(line) = self.line {
                write!(f, "{line}:")?;
            }
            f.write_char(' ')?;
        }
        f.write_str(&self.text)
    }
}

/// Returns the message of an error of the command line on one line, without the hint at `--help`.
pub(super) fn first_sentence(error: &clap::Error) -> String {
    let text = error.to_string();
    let text = text.split("\n\nUsage:").next().unwrap_or_default();
    let text = text.split("\n\nFor more information").next().unwrap_or_default();
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join(" ").trim_start_matches("error: ").to_owned()
}
