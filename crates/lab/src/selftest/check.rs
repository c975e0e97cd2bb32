//! A check of the self-test: its figures and its result.

use super::counter::Counter;
use crate::error::Error;

/// A known figure and the counted one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedFigure {
    /// The figure's subject.
    pub subject: String,
    /// The known value.
    pub expected: u64,
    /// The counted value.
    pub counted: u64,
}

/// Result of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckVerdict {
    /// Every figure is as expected.
    Ok,
    /// A figure is wrong or could not be obtained: the reason.
    Failed(String),
    /// The check cannot run here: the reason.
    Skipped(String),
}

/// A check that has run.
#[derive(Clone, Debug)]
pub struct Check {
    /// Its identifier.
    pub letter: char,
    /// Its name.
    pub name: &'static str,
    /// The counters that it validates.
    pub validates: &'static [Counter],
    /// Expected and counted figures, also of a check that was skipped half way.
    pub figures: Vec<CheckedFigure>,
    /// The result.
    pub verdict: CheckVerdict,
    /// Number of attempts.
    pub tries: u32,
}

/// Why an experiment returned no figures.
#[derive(Debug)]
pub(crate) enum ExperimentError {
    Failed(String),
    Skipped(String),
}

impl From<Error> for ExperimentError {
    fn from(error: Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Return type of a check's body.
pub(super) type CheckOutcome = std::result::Result<(), ExperimentError>;
