//! `karez lab claims`: tests common claims about Linux I/O on the running kernel.
//!
//! A [`Claim`] consists of an experiment that returns [`Evidence`], and a rule that derives a
//! [`Verdict`] from it. The rule sees only the evidence, so different evidence gives a different
//! verdict. The counters that a claim needs must have passed the self-test.
//!
//! # Limitations
//! A claim is one sentence and a verdict one word; the evidence and the kernel's reason belong to
//! it. If evidence shows the behaviour but not its implementation, the verdict says so.

mod bench;
mod busy_poll;
mod claim;
mod comparisons;
mod costs;
mod edge;
mod epoll;
mod evidence;
mod files;
mod framed;
mod kernel_tls;
mod memory;
mod paths;
mod plan;
mod proactor;
mod ratio;
mod render;
mod residency;
mod ring;
mod sending;
mod serving;
mod system;
mod transfers;
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

/// File size of the preceding self-test.
const SELF_TEST_BYTES: u64 = 4 << 20;

/// Numbers of the claims whose verdict follows from times; those of the others follow from counts and from
/// the results of calls.
const TIMED: [u8; 21] =
    [6, 8, 10, 13, 14, 16, 36, 38, 39, 40, 41, 44, 45, 46, 48, 52, 56, 57, 58, 59, 61];

impl Claim {
    /// Returns whether the verdict follows from times, which an emulated processor distorts.
    #[must_use]
    pub fn is_timed(&self) -> bool {
        TIMED.contains(&self.number)
    }

    /// Returns every claim, ordered by number.
    #[must_use]
    pub fn all() -> Vec<&'static Self> {
        let groups = [
            system::CLAIMS,
            waiting::CLAIMS,
            epoll::CLAIMS,
            files::CLAIMS,
            paths::CLAIMS,
            comparisons::CLAIMS,
            transfers::CLAIMS,
            costs::CLAIMS,
            sending::CLAIMS,
            serving::CLAIMS,
            residency::CLAIMS,
            kernel_tls::CLAIMS,
            busy_poll::CLAIMS,
            proactor::CLAIMS,
            edge::CLAIMS,
            ring::CLAIMS,
            framed::CLAIMS,
            memory::CLAIMS,
        ];
        let mut all: Vec<_> = groups.into_iter().flatten().collect();
        all.sort_by_key(|claim| claim.number);
        all
    }
}

/// The report.
pub struct Claims {
    /// Available counters.
    pub tiers: Tiers,
    /// The tested claims, ordered by number.
    pub findings: Vec<Finding>,
}

impl Claims {
    /// Tests the selected claims and calls `on_step` before each.
    ///
    /// # Errors
    /// If no file can be created.
    pub fn run(plan: &ClaimsPlan, mut on_step: impl FnMut(&str)) -> Result<Self> {
        on_step("self-test");
        let test = SelfTest::run(&plan.self_test_plan(SELF_TEST_BYTES), |_, _| {})?;
        let own = plan.self_test_plan(plan.bytes);
        let tiers = test.tiers.clone();
        let mut bench = ClaimsBench {
            plan,
            test,
            base: SelfTestBench::new(&own)?,
            sweep_result: None,
            requests_result: None,
        };
        let wanted = |claim: &&&Claim| plan.only.is_empty() || plan.only.contains(&claim.number);
        let mut findings = Vec::new();
        for claim in Claim::all().iter().filter(wanted) {
            on_step(&format!("{}. {}", claim.number, claim.statement));
            findings.push(claim.run(&mut bench));
        }
        Ok(Self { tiers, findings })
    }

    /// Returns the finding of the claim with this number.
    #[must_use]
    pub fn find(&self, number: u8) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.claim.number == number)
    }
}
