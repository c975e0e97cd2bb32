//! The counters count themselves: each is given what is known beforehand, and has to find exactly
//! that, to the byte. Positive controls are among it: a counter that always says 0 fails.
//!
//! A counter that fails is [not usable](SelfTest::usable), and no report uses it.
//!
//! What it does badly: it says that a counter is right for these movements on this machine now, and
//! no more; and what it cannot try here (a device that swallows datagrams, hooks on functions) it
//! can only name.

mod agreement;
pub(crate) mod bench;
mod check;
mod counter;
mod definition;
mod figures;
mod plan;
mod render;

pub(crate) use check::Stop;
pub use check::{Check, Figure, Verdict};
pub use counter::Counter;
pub use plan::Plan;

use crate::error::Result;
use crate::tier::Tiers;
use bench::Bench;

/// A self-test that was made.
#[derive(Clone, Debug)]
pub struct SelfTest {
    /// What can be counted here.
    pub tiers: Tiers,
    /// The checks, in order.
    pub checks: Vec<Check>,
}

impl SelfTest {
    /// Makes every check that can be made here; `before` hears of each before it begins.
    ///
    /// # Errors
    /// Where not even a file can be made.
    pub fn run(plan: &Plan, mut before: impl FnMut(char, &str)) -> Result<Self> {
        let mut bench = Bench::new(plan)?;
        let tiers = Tiers::of(bench.counters.as_ref());
        let mut checks = Vec::new();
        for definition in figures::CHECKS.iter().chain(agreement::CHECKS) {
            before(definition.letter, definition.name);
            checks.push(definition.make(&mut bench));
        }
        checks.sort_by_key(|check| check.letter);
        Ok(Self { tiers, checks })
    }

    /// Whether no check failed.
    #[must_use]
    pub fn passed(&self) -> bool {
        !self.checks.iter().any(|check| matches!(check.verdict, Verdict::Failed(_)))
    }

    /// Whether a report may use this counter: a check that vouches for it came out right, and none
    /// came out wrong.
    #[must_use]
    pub fn usable(&self, counter: Counter) -> bool {
        let mut of_it = self.checks.iter().filter(|check| check.vouches.contains(&counter));
        let right = of_it.clone().any(|check| check.verdict == Verdict::Ok);
        right && !of_it.any(|check| matches!(check.verdict, Verdict::Failed(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(verdict: Verdict, vouches: &'static [Counter]) -> Check {
        Check { letter: 'x', name: "", vouches, figures: Vec::new(), verdict, tries: 1 }
    }

    #[test]
    fn a_counter_needs_a_voucher_and_no_failure() {
        let tiers = Tiers { without_t1: None, without_t3: None, missing: Vec::new() };
        let failed = || Verdict::Failed(String::new());
        let skipped = || Verdict::Skipped(String::new());
        let test = SelfTest {
            tiers,
            checks: vec![
                check(Verdict::Ok, &[Counter::Calls, Counter::Kernel]),
                check(failed(), &[Counter::Kernel]),
                check(skipped(), &[Counter::Disk, Counter::Calls]),
            ],
        };
        assert!(test.usable(Counter::Calls));
        assert!(!test.usable(Counter::Kernel), "a check failed");
        assert!(!test.usable(Counter::Disk), "nothing vouches for it");
        assert!(!test.passed());
    }
}
