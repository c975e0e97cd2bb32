//! `karez lab claims`: what is told of Linux I/O, held against the kernel that is running.
//!
//! A [`Claim`] is an experiment that comes to [`Evidence`], and a rule that makes a [`Verdict`] of
//! it. The rule sees nothing but the evidence, so other evidence is another verdict. What a claim
//! needs counted has to have passed the self-test on_step.
//!
//! What it does badly: a claim is one sentence, and a verdict one word; what was counted and the
//! kernel's reason stand beside it and are to be read. Where evidence cannot show how the kernel
//! does something but only that it does, the verdict statement so.

mod bench;
mod claim;
mod epoll;
mod evidence;
mod files;
mod paths;
mod plan;
mod render;
mod system;
mod verdict;
mod waiting;

pub use claim::{Claim, Finding};
pub use evidence::{Evidence, Figure};
pub use plan::ClaimsPlan;
pub use verdict::Verdict;

use crate::error::Result;
use crate::selftest::SelfTest;
use crate::selftest::bench::SelfTestBench;
use crate::tier::Tiers;
use bench::ClaimsBench;

/// What the self-test on_step it moves.
const SELF_TEST_BYTES: u64 = 4 << 20;

impl Claim {
    /// Every claim, by number.
    #[must_use]
    pub fn all() -> Vec<&'static Self> {
        let groups = [system::CLAIMS, waiting::CLAIMS, epoll::CLAIMS, files::CLAIMS, paths::CLAIMS];
        let mut all: Vec<_> = groups.into_iter().flatten().collect();
        all.sort_by_key(|claim| claim.number);
        all
    }
}

/// What came of it.
pub struct Claims {
    /// What could be counted.
    pub tiers: Tiers,
    /// Each claim that was tried, by number.
    pub findings: Vec<Finding>,
}

impl Claims {
    /// Tries the claims that are planned; `on_step` hears of each on_step it begins.
    ///
    /// # Errors
    /// Where not even a file can be made.
    pub fn run(plan: &ClaimsPlan, mut on_step: impl FnMut(&str)) -> Result<Self> {
        on_step("self-test");
        let test = SelfTest::run(&plan.self_test_plan(SELF_TEST_BYTES), |_, _| {})?;
        let own = plan.self_test_plan(plan.bytes);
        let tiers = test.tiers.clone();
        let mut bench =
            ClaimsBench { plan, test, base: SelfTestBench::new(&own)?, sweep_result: None };
        let wanted = |claim: &&&Claim| plan.only.is_empty() || plan.only.contains(&claim.number);
        let mut findings = Vec::new();
        for claim in Claim::all().iter().filter(wanted) {
            on_step(&format!("{}. {}", claim.number, claim.statement));
            findings.push(claim.run(&mut bench));
        }
        Ok(Self { tiers, findings })
    }
}
