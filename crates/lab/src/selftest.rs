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
mod figures;
mod render;

use std::path::{Path, PathBuf};

use crate::crew::Workers;
use crate::error::{Error, Result};
use crate::probe::{Counters, Scope, Unavailable};
use crate::tier::Tiers;
use bench::Bench;

/// How often a check is made that fails.
const TRIES: u32 = 3;

/// How a self-test is to be made.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How to start workers.
    pub workers: Workers,
    /// Where its files are made; a file system on a disk, for one in memory has no cold files.
    pub directory: PathBuf,
    /// How many bytes are moved by most checks.
    pub bytes: u64,
    /// By pieces of how many.
    pub chunk: u32,
    /// Another object to count with than the one built in.
    pub object: Option<PathBuf>,
}

impl Plan {
    /// 64 MiB by 64 KiB.
    #[must_use]
    pub fn new(workers: Workers, directory: &Path) -> Self {
        let (bytes, chunk) = (64 << 20, 64 << 10);
        Self { workers, directory: directory.to_owned(), bytes, chunk, object: None }
    }

    /// The same with 8 MiB.
    #[must_use]
    pub fn quick(self) -> Self {
        Self { bytes: 8 << 20, ..self }
    }

    /// The same with counters, or why there are none.
    pub(crate) fn attach(&self) -> Result<std::result::Result<Counters, Unavailable>> {
        let Some(path) = &self.object else {
            return Ok(Counters::attach(&Scope::default()));
        };
        let object = std::fs::read(path);
        let object = object.map_err(|error| Error::new("read", path.display(), error))?;
        Ok(Counters::attach_from(&object, &Scope::default()))
    }
}

/// What a figure of a report rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// System calls, switches and faults by process.
    Calls,
    /// Bytes copied from the page cache into memory of a process.
    FileToUser,
    /// Bytes into and out of pipes.
    Pipe,
    /// Bytes that leave in memory of the kernel's: copied.
    Kernel,
    /// Bytes that leave in pages of a file: not copied.
    PageCache,
    /// Bytes that leave in the packet's own memory.
    Linear,
    /// Bytes the receiver copied.
    Receiver,
    /// Bytes a disk moved.
    Disk,
    /// What the error queue says of `MSG_ZEROCOPY`.
    Notifications,
    /// The mutation probe.
    Mutation,
    /// What transfers say of their own system calls.
    Own,
}

impl Counter {
    /// Every counter.
    pub const ALL: &'static [Self] = &[
        Self::Calls,
        Self::FileToUser,
        Self::Pipe,
        Self::Kernel,
        Self::PageCache,
        Self::Linear,
        Self::Receiver,
        Self::Disk,
        Self::Notifications,
        Self::Mutation,
        Self::Own,
    ];

    /// The name used in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::FileToUser => "file-to-user",
            Self::Pipe => "pipe",
            Self::Kernel => "kernel",
            Self::PageCache => "page-cache",
            Self::Linear => "linear",
            Self::Receiver => "receiver",
            Self::Disk => "disk",
            Self::Notifications => "notifications",
            Self::Mutation => "mutation",
            Self::Own => "own",
        }
    }
}

/// One thing that was known beforehand, and what was counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// Of what.
    pub what: String,
    /// What has to be counted.
    pub expected: u64,
    /// What was.
    pub counted: u64,
}

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every figure is as expected.
    Ok,
    /// One is not, or could not be had: why.
    Failed(String),
    /// It cannot be made here: why.
    Skipped(String),
}

/// One check.
#[derive(Clone, Debug)]
pub struct Check {
    /// Its letter.
    pub letter: char,
    /// What it does.
    pub name: &'static str,
    /// What it vouches for.
    pub vouches: &'static [Counter],
    /// What was expected and counted; also of a check that was skipped half way.
    pub figures: Vec<Figure>,
    /// What came of it.
    pub verdict: Verdict,
    /// How often it was made until it came out right.
    pub tries: u32,
}

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

/// Why an experiment came to no figures.
pub(crate) enum Stop {
    Failed(String),
    Skipped(String),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// A check as it is defined. It adds its figures as it goes.
struct Definition {
    letter: char,
    name: &'static str,
    vouches: &'static [Counter],
    body: fn(&mut Bench<'_>, &mut Vec<Figure>) -> std::result::Result<(), Stop>,
}

impl Definition {
    /// Makes the check; one that fails is made again, for a busy machine may disturb it, but a
    /// counter that is wrong is wrong each time. How often it was made is in the report.
    fn make(&self, bench: &mut Bench<'_>) -> Check {
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
