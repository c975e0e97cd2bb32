//! The definition of a check: its name, the counters it vouches for, and its body.

use super::bench::Bench;
use super::check::{Check, CheckOutcome, Figure, Stop, Verdict};
use super::counter::Counter;

/// How often a check is made that fails.
const TRIES: u32 = 3;

/// A check as it is defined. It adds its figures as it goes.
pub(super) struct Definition {
    pub(super) letter: char,
    pub(super) name: &'static str,
    pub(super) vouches: &'static [Counter],
    pub(super) body: fn(&mut Bench<'_>, &mut Vec<Figure>) -> CheckOutcome,
}

impl Definition {
    /// Makes the check; one that fails is made again, for a busy machine may disturb it, but a
    /// counter that is wrong is wrong each time. How often it was made is in the report.
    pub(super) fn make(&self, bench: &mut Bench<'_>) -> Check {
        let mut check = self.attempt(bench);
        while check.tries < TRIES && matches!(check.verdict, Verdict::Failed(_)) {
            check = Check { tries: check.tries + 1, ..self.attempt(bench) };
        }
        check
    }

    fn attempt(&self, bench: &mut Bench<'_>) -> Check {
        let mut figures = Vec::new();
        let stopped = (self.body)(bench, &mut figures).err();
        let wrong = figures.iter().find(|figure| figure.expected != figure.counted);
        let verdict = match (wrong, stopped) {
            (Some(figure), _) => Verdict::Failed(format!("{}: not as expected", figure.what)),
            (None, Some(Stop::Failed(why))) => Verdict::Failed(why),
            (None, Some(Stop::Skipped(why))) => Verdict::Skipped(why),
            (None, None) => Verdict::Ok,
        };
        let Self { letter, name, vouches, .. } = *self;
        Check { letter, name, vouches, figures, verdict, tries: 1 }
    }
}
