//! Definition of a check: its name, the counters it validates, and its body.

use super::bench::SelfTestBench;
use super::check::{Check, CheckOutcome, CheckVerdict, CheckedFigure, ExperimentError};
use super::counter::Counter;

/// Attempts of a failing check.
const ATTEMPTS: u32 = 3;

/// A check; its body adds the figures.
pub(super) struct CheckDefinition {
    pub(super) letter: char,
    pub(super) name: &'static str,
    pub(super) validates: &'static [Counter],
    pub(super) body: fn(&mut SelfTestBench<'_>, &mut Vec<CheckedFigure>) -> CheckOutcome,
}

impl CheckDefinition {
    /// Runs the check. A failed check is repeated, because a busy machine may disturb it; a wrong
    /// counter fails each time. The report contains the number of attempts.
    pub(super) fn run(&self, bench: &mut SelfTestBench<'_>) -> Check {
        let mut check = self.attempt(bench);
        while check.tries < ATTEMPTS && matches!(check.verdict, CheckVerdict::Failed(_)) {
            check = Check { tries: check.tries + 1, ..self.attempt(bench) };
        }
        check
    }

    fn attempt(&self, bench: &mut SelfTestBench<'_>) -> Check {
        let mut figures = Vec::new();
        let error = (self.body)(bench, &mut figures).err();
        let wrong = figures.iter().find(|figure| figure.expected != figure.counted);
        let verdict = match (wrong, error) {
            (Some(figure), _) => {
                CheckVerdict::Failed(format!("{}: not as expected", figure.subject))
            }
            (None, Some(ExperimentError::Failed(reason))) => CheckVerdict::Failed(reason),
            (None, Some(ExperimentError::Skipped(reason))) => CheckVerdict::Skipped(reason),
            (None, None) => CheckVerdict::Ok,
        };
        let Self { letter, name, validates, .. } = *self;
        Check { letter, name, validates, figures, verdict, tries: 1 }
    }
}
