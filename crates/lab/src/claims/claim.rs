//! A claim: an experiment, and a rule that turns its evidence into a verdict.

use super::bench::ClaimsBench;
use super::evidence::Evidence;
use super::verdict::Verdict;
use crate::language::msg;
use crate::selftest::{Counter, ExperimentError};

/// A claim.
pub struct Claim {
    /// Its number.
    pub number: u8,
    /// A stable name, used in links.
    pub name: &'static str,
    /// The statement.
    pub statement: &'static str,
    /// The kernel's mechanism behind the result.
    pub reason: &'static str,
    /// The counters that its evidence needs.
    pub needs: &'static [Counter],
    pub(super) experiment:
        fn(&mut ClaimsBench<'_>) -> std::result::Result<Evidence, ExperimentError>,
    /// Returns `None` if a figure is missing.
    pub(super) rule: fn(&Evidence) -> Option<Verdict>,
}

impl Claim {
    /// Returns the verdict that follows from the evidence.
    #[must_use]
    pub fn judge(&self, evidence: &Evidence) -> Verdict {
        let missing = || Verdict::NotMeasurable(msg!("a figure is missing").to_owned());
        (self.rule)(evidence).unwrap_or_else(missing)
    }

    pub(super) fn run(&'static self, bench: &mut ClaimsBench<'_>) -> Finding {
        let unusable = self.needs.iter().find(|&&counter| !bench.test.usable(counter));
        // Without counters the experiment reports why they are unavailable.
        if let (Some(counter), true) = (unusable, bench.base.counters.is_ok()) {
            let why = format!("counter {} failed its self-test", counter.name());
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

/// A tested claim.
pub struct Finding {
    /// The claim.
    pub claim: &'static Claim,
    /// The evidence.
    pub evidence: Evidence,
    /// The verdict.
    pub verdict: Verdict,
}

impl Finding {
    pub(super) fn not_measurable(claim: &'static Claim, why: String) -> Self {
        Self { claim, evidence: Evidence::default(), verdict: Verdict::NotMeasurable(why) }
    }

    /// Returns the command that repeats the test.
    #[must_use]
    pub fn command(&self) -> String {
        format!("karez lab claims --claim {}", self.claim.number)
    }
}
