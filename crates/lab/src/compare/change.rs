//! The differences between two reports: changed figures, conditions, drift, and unmatched rows.

use crate::stats::MedianRange;

/// Accepted probability that any figure differs by chance.
const SIGNIFICANCE: f64 = 0.05;

/// A changed figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The experiment.
    pub experiment: &'static str,
    /// Identity of the row.
    pub row: String,
    /// The figure.
    pub figure: &'static str,
    /// Both values.
    pub kind: ChangeKind,
}

/// The values of a figure before and after.
#[derive(Clone, Debug, PartialEq)]
pub enum ChangeKind {
    /// A count or a word.
    Counted(String, String),
    /// A timed figure whose ranges do not overlap.
    Timed {
        /// Value before.
        before: MedianRange,
        /// Value after.
        after: MedianRange,
        /// Expected number of such differences by chance among all compared figures.
        by_chance: f64,
    },
}

impl Change {
    /// Returns whether chance is an unlikely explanation for the number of runs.
    #[must_use]
    pub fn is_beyond_noise(&self) -> bool {
        match self.kind {
            ChangeKind::Counted(..) => true,
            ChangeKind::Timed { by_chance, .. } => by_chance <= SIGNIFICANCE,
        }
    }
}

/// A condition that differs between the reports.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// Its name.
    pub name: String,
    /// Value before.
    pub before: String,
    /// Value after.
    pub after: String,
}

/// Common change of a figure over all rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Drift {
    /// The experiment.
    pub experiment: &'static str,
    /// The figure.
    pub figure: &'static str,
    /// Median ratio of the values after and before.
    pub ratio: f64,
    /// Number of rows.
    pub rows: usize,
}

/// Rows that only one report contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnmatchedRows {
    /// The experiment.
    pub experiment: &'static str,
    /// Whether the other report has no row of this experiment.
    pub entirely: bool,
    /// The rows.
    pub rows: Vec<String>,
}
