//! A claim: an experiment, and a rule that turns its evidence into a verdict.

use super::bench::ClaimsBench;
use super::evidence::Evidence;
use super::verdict::Verdict;
use crate::selftest::{Counter, ExperimentError};

/// One claim.
pub struct Claim {
    /// Its number.
    pub number: u8,
    /// The claim.
    pub statement: &'static str,
    /// Why the kernel does what it does.
    pub reason: &'static str,
    /// What its evidence is counted with.
    pub needs: &'static [Counter],
    pub(super) experiment:
        fn(&mut ClaimsBench<'_>) -> std::result::Result<Evidence, ExperimentError>,
    /// `None` where a figure is missing.
    pub(super) rule: fn(&Evidence) -> Option<Verdict>,
}

impl Claim {
    /// What this evidence statement of it.
    #[must_use]
    pub fn judge(&self, evidence: &Evidence) -> Verdict {
        let missing = || Verdict::NotMeasurable("a figure is missing".to_owned());
        (self.rule)(evidence).unwrap_or_else(missing)
    }

    pub(super) fn run(&'static self, bench: &mut ClaimsBench<'_>) -> Finding {
        let unusable = self.needs.iter().find(|&&counter| !bench.test.usable(counter));
        // Without counters the experiment statement itself that it needs them, and why there are none.
        if let (Some(counter), true) = (unusable, bench.base.counters.is_ok()) {
            let why = format!("the counter {} did not pass its self-test", counter.name());
            return Finding::not_measurable(self, why);
        }
        match (self.experiment)(bench) {
            Ok(evidence) => Finding { claim: self, verdict: self.judge(&evidence), evidence },
            Err(ExperimentError::Failed(why) | ExperimentError::Skipped(why)) => {
                Finding::not_measurable(self, why)
            }
        }
    }
}

/// A claim and what came of it.
pub struct Finding {
    /// The claim.
    pub claim: &'static Claim,
    /// What was measured.
    pub evidence: Evidence,
    /// What that statement.
    pub verdict: Verdict,
}

impl Finding {
    pub(super) fn not_measurable(claim: &'static Claim, why: String) -> Self {
        Self { claim, evidence: Evidence::default(), verdict: Verdict::NotMeasurable(why) }
    }

    /// The command that tries it again.
    #[must_use]
    pub fn command(&self) -> String {
        format!("karez lab claims --claim {}", self.claim.number)
    }
}
