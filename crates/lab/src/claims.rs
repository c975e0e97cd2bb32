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
mod epoll;
mod evidence;
mod files;
mod paths;
mod render;
mod system;
mod waiting;

pub use evidence::{Evidence, Figure};

use std::path::{Path, PathBuf};

use crate::crew::Workers;
use crate::error::Result;
use crate::selftest::bench::Bench as Ground;
use crate::selftest::{Counter, Plan as SelfTestPlan, SelfTest, Stop};
use crate::tier::Tiers;
use bench::Bench;

/// What the self-test before it moves.
const TRIED: u64 = 4 << 20;

/// What is to be tried.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How to start workers.
    pub workers: Workers,
    /// Where files are made: on a disk.
    pub directory: PathBuf,
    /// How many bytes are moved.
    pub bytes: u64,
    /// By pieces of how many.
    pub chunk: u32,
    /// Fewer descriptors and runs where times are needed.
    pub quick: bool,
    /// The numbers of the claims; empty for all.
    pub only: Vec<u8>,
}

impl Plan {
    /// Every claim, by 16 MiB in pieces of 64 KiB.
    #[must_use]
    pub fn new(workers: Workers, directory: &Path) -> Self {
        let (bytes, chunk) = (16 << 20, 64 << 10);
        let directory = directory.to_owned();
        Self { workers, directory, bytes, chunk, quick: false, only: Vec::new() }
    }

    /// The same with 4 MiB, fewer descriptors and fewer runs.
    #[must_use]
    pub fn quick(self) -> Self {
        Self { bytes: 4 << 20, quick: true, ..self }
    }

    fn of_self_test(&self, bytes: u64) -> SelfTestPlan {
        let plan = SelfTestPlan::new(self.workers.clone(), &self.directory);
        SelfTestPlan { bytes, chunk: self.chunk, ..plan }
    }
}

/// What the evidence says of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Confirmed,
    /// It does not.
    Refuted,
    /// It holds at times: on what that depends.
    DependsOn(String),
    /// It cannot be measured here: why.
    NotMeasurable(String),
}

/// One claim.
pub struct Claim {
    /// Its number.
    pub number: u8,
    /// The claim.
    pub says: &'static str,
    /// Why the kernel does what it does.
    pub reason: &'static str,
    /// What its evidence is counted with.
    pub needs: &'static [Counter],
    experiment: fn(&mut Bench<'_>) -> std::result::Result<Evidence, Stop>,
    /// `None` where a figure is missing.
    rule: fn(&Evidence) -> Option<Verdict>,
}

impl Claim {
    /// Every claim, by number.
    #[must_use]
    pub fn all() -> Vec<&'static Self> {
        let groups = [system::CLAIMS, waiting::CLAIMS, epoll::CLAIMS, files::CLAIMS, paths::CLAIMS];
        let mut all: Vec<_> = groups.into_iter().flatten().collect();
        all.sort_by_key(|claim| claim.number);
        all
    }

    /// What this evidence says of it.
    #[must_use]
    pub fn judge(&self, evidence: &Evidence) -> Verdict {
        let missing = || Verdict::NotMeasurable("a figure is missing".to_owned());
        (self.rule)(evidence).unwrap_or_else(missing)
    }

    fn tried(&'static self, bench: &mut Bench<'_>) -> Finding {
        let unusable = self.needs.iter().find(|&&counter| !bench.test.usable(counter));
        // Without counters the experiment says itself that it needs them, and why there are none.
        if let (Some(counter), true) = (unusable, bench.ground.counters.is_ok()) {
            let why = format!("the counter {} did not pass its self-test", counter.name());
            return Finding::without(self, why);
        }
        match (self.experiment)(bench) {
            Ok(evidence) => Finding { claim: self, verdict: self.judge(&evidence), evidence },
            Err(Stop::Failed(why) | Stop::Skipped(why)) => Finding::without(self, why),
        }
    }
}

/// A claim and what came of it.
pub struct Finding {
    /// The claim.
    pub claim: &'static Claim,
    /// What was measured.
    pub evidence: Evidence,
    /// What that says.
    pub verdict: Verdict,
}

impl Finding {
    fn without(claim: &'static Claim, why: String) -> Self {
        Self { claim, evidence: Evidence::default(), verdict: Verdict::NotMeasurable(why) }
    }

    /// The command that tries it again.
    #[must_use]
    pub fn repeat(&self) -> String {
        format!("karez lab claims --claim {}", self.claim.number)
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
        let mut bench = Bench { plan, test, ground: Ground::new(&own)?, swept: None };
        let wanted = |claim: &&&Claim| plan.only.is_empty() || plan.only.contains(&claim.number);
        let mut findings = Vec::new();
        for claim in Claim::all().iter().filter(wanted) {
            before(&format!("{}. {}", claim.number, claim.says));
            findings.push(claim.tried(&mut bench));
        }
        Ok(Self { tiers, findings })
    }
}
