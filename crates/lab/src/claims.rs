//! `karez lab claims`: what is told of Linux I/O, held against the kernel that is running.
//!
//! A [`Claim`] is an experiment that comes to [`Evidence`], and a rule that makes a [`Verdict`] of
//! it. The rule sees nothing but the evidence, so other evidence is another verdict. What a claim
//! needs counted has to have passed the self-test before.
//!
//! What it does badly: a claim is one sentence, and a verdict one word; what was counted and the
//! kernel's reason stand beside it and are to be read. Where evidence cannot show how the kernel
//! does something but only that it does, the verdict says so.

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
pub use plan::Plan;
pub use verdict::Verdict;

use crate::error::Result;
use crate::selftest::SelfTest;
use crate::selftest::bench::Bench as SelfTestBench;
use crate::tier::Tiers;
use bench::Bench;

/// What the self-test before it moves.
const TRIED: u64 = 4 << 20;

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
    /// Tries the claims that are planned; `before` hears of each before it begins.
    ///
    /// # Errors
    /// Where not even a file can be made.
    pub fn run(plan: &Plan, mut before: impl FnMut(&str)) -> Result<Self> {
        before("self-test");
        let test = SelfTest::run(&plan.of_self_test(TRIED), |_, _| {})?;
        let own = plan.of_self_test(plan.bytes);
        let tiers = test.tiers.clone();
        let mut bench = Bench { plan, test, base: SelfTestBench::new(&own)?, swept: None };
        let wanted = |claim: &&&Claim| plan.only.is_empty() || plan.only.contains(&claim.number);
        let mut findings = Vec::new();
        for claim in Claim::all().iter().filter(wanted) {
            before(&format!("{}. {}", claim.number, claim.says));
            findings.push(claim.tried(&mut bench));
        }
        Ok(Self { tiers, findings })
    }
}
