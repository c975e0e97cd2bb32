//! The self-test: validates each counter, to the byte, against workloads with known figures. They
//! include positive controls, so a counter that always returns 0 fails.
//!
//! A failed counter is [not usable](SelfTest::usable), and no report uses it.
//!
//! # Limitations
//! It validates the counters for these transfers on this machine now. Facilities that are missing
//! (dummy devices, function hooks) are only listed.

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

/// The report.
#[derive(Clone, Debug)]
pub struct SelfTest {
    /// Available counters.
    pub tiers: Tiers,
    /// The checks in order.
    pub checks: Vec<Check>,
}

impl SelfTest {
    /// Runs every check and calls `on_step` before each.
    ///
    /// # Errors
    /// If no file can be created.
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

    /// Returns whether no check failed.
    #[must_use]
    pub fn passed(&self) -> bool {
        !self.checks.iter().any(|check| matches!(check.verdict, CheckVerdict::Failed(_)))
    }

    /// Returns whether reports may use this counter: a check that validates it passed, and none
    /// failed.
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
        assert!(!test.usable(Counter::Disk), "no passed check validates it");
        assert!(!test.passed());
    }
}
