//! One check of a self-test: its figures and its result.

use super::counter::Counter;
use crate::error::Error;

/// One thing that was known beforehand, and what was counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedFigure {
    /// Of what.
    pub subject: String,
    /// What has to be counted.
    pub expected: u64,
    /// What was.
    pub counted: u64,
}

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckVerdict {
    /// Every figure is as expected.
    Ok,
    /// One is not, or could not be had: reason.
    Failed(String),
    /// It cannot be made here: reason.
    Skipped(String),
}

/// One check.
#[derive(Clone, Debug)]
pub struct Check {
    /// Its letter.
    pub letter: char,
    /// What it does.
    pub name: &'static str,
    /// What it validates for.
    pub validates: &'static [Counter],
    /// What was expected and counted; also of a check that was skipped half way.
    pub figures: Vec<CheckedFigure>,
    /// What came of it.
    pub verdict: CheckVerdict,
    /// How often it was made until it came out right.
    pub tries: u32,
}

/// Why an experiment came to no figures.
pub(crate) enum ExperimentError {
    Failed(String),
    Skipped(String),
}

impl From<Error> for ExperimentError {
    fn from(error: Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// What the body of a check returns: nothing, or reason it stopped.
pub(super) type CheckOutcome = std::result::Result<(), ExperimentError>;
