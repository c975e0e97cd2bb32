//! The definition of a check: its name, the counters it validates for, and its body.

use super::bench::SelfTestBench;
use super::check::{Check, CheckOutcome, CheckVerdict, CheckedFigure, ExperimentError};
use super::counter::Counter;

/// How often a check is made that fails.
const ATTEMPTS: u32 = 3;

/// A check as it is defined. It adds its figures as it goes.
pub(super) struct CheckDefinition {
    pub(super) letter: char,
    pub(super) name: &'static str,
    pub(super) validates: &'static [Counter],
    pub(super) body: fn(&mut SelfTestBench<'_>, &mut Vec<CheckedFigure>) -> CheckOutcome,
}

impl CheckDefinition {
    /// Makes the check; one that fails is made again, for a busy machine may disturb it, but a
    /// counter that is wrong is wrong each time. How often it was made is in the report.
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
