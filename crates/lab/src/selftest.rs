//! The counters count themselves: each is given what is known beforehand, and has to find exactly
//! that, to the byte. Positive controls are among it: a counter that always says 0 fails.
//!
//! A counter that fails is [not usable](SelfTest::usable), and no report uses it.
//!
//! What it does badly: it says that a counter is right for these movements on this machine now, and
//! no more; and what it cannot try here (a device that swallows datagrams, hooks on functions) it
//! can only name.

pub(crate) mod bench;
mod check;
mod counter;
mod cross_checks;
mod definition;
mod known_figures;
mod plan;
mod render;

pub(crate) use check::ExperimentError;
pub use check::{Check, CheckVerdict, CheckedFigure};
pub use counter::Counter;
pub use plan::SelfTestPlan;

use crate::error::Result;
use crate::tier::Tiers;
use bench::SelfTestBench;

/// A self-test that was made.
#[derive(Clone, Debug)]
pub struct SelfTest {
    /// What can be counted here.
    pub tiers: Tiers,
    /// The checks, in order.
    pub checks: Vec<Check>,
}

impl SelfTest {
    /// Makes every check that can be made here; `on_step` hears of each on_step it begins.
    ///
    /// # Errors
    /// Where not even a file can be made.
    pub fn run(plan: &SelfTestPlan, mut on_step: impl FnMut(char, &str)) -> Result<Self> {
        let mut bench = SelfTestBench::new(plan)?;
        let tiers = Tiers::of(bench.counters.as_ref());
        let mut checks = Vec::new();
        for definition in known_figures::CHECKS.iter().chain(cross_checks::CHECKS) {
            on_step(definition.letter, definition.name);
            checks.push(definition.run(&mut bench));
        }
        checks.sort_by_key(|check| check.letter);
        Ok(Self { tiers, checks })
    }

    /// Whether no check failed.
    #[must_use]
    pub fn passed(&self) -> bool {
        !self.checks.iter().any(|check| matches!(check.verdict, CheckVerdict::Failed(_)))
    }

    /// Whether a report may use this counter: a check that validates for it came out right, and none
    /// came out wrong.
    #[must_use]
    pub fn usable(&self, counter: Counter) -> bool {
        let mut of_it = self.checks.iter().filter(|check| check.validates.contains(&counter));
        let right = of_it.clone().any(|check| check.verdict == CheckVerdict::Ok);
        right && !of_it.any(|check| matches!(check.verdict, CheckVerdict::Failed(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(verdict: CheckVerdict, validates: &'static [Counter]) -> Check {
        Check { letter: 'x', name: "", validates, figures: Vec::new(), verdict, tries: 1 }
    }

    #[test]
    fn usable_counter_has_a_passed_check_and_no_failed_one() {
        let tiers = Tiers { without_t1: None, without_t3: None, missing: Vec::new() };
        let failed = || CheckVerdict::Failed(String::new());
        let skipped = || CheckVerdict::Skipped(String::new());
        let test = SelfTest {
            tiers,
            checks: vec![
                check(CheckVerdict::Ok, &[Counter::Calls, Counter::Kernel]),
                check(failed(), &[Counter::Kernel]),
                check(skipped(), &[Counter::Disk, Counter::Calls]),
            ],
        };
        assert!(test.usable(Counter::Calls));
        assert!(!test.usable(Counter::Kernel), "a check failed");
        assert!(!test.usable(Counter::Disk), "nothing validates for it");
        assert!(!test.passed());
    }
}
