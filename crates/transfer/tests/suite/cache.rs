//! The effect on the page cache, by cachestat(2), and on blocking.

use karez_sys::cached_pages;
use karez_transfer::{CachePolicy, Direction, OnMiss, Progress, Settings, Via};
use rustix::fs::{Advice, Mode, OFlags, fadvise, fdatasync, open};
use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _};

use crate::case::Case;
use crate::random::{Random, pattern};
use crate::stage::{Outcome, Plan, Stage};

/// Whole blocks, and more than one piece of drop-behind.
const LEN: usize = 9 << 20;

fn cached(file: &File) -> u64 {
    cached_pages(file.as_fd(), 0..LEN as u64).unwrap()
}

/// Evicts the pages of the file; returns whether that succeeded.
fn evict(file: &File) -> bool {
    fdatasync(file).unwrap();
    fadvise(file, 0, None, Advice::DontNeed).unwrap();
    cached(file) == 0
}

/// Whether pages can be counted here and have a disk to go to.
fn has_a_disk() -> bool {
    let file = tempfile::tempfile_in(crate::stage::DISK).unwrap();
    file.set_len(4096).unwrap();
    rustix::io::pwrite(&file, b"water", 0).unwrap();
    let counted = cached_pages(file.as_fd(), 0..4096);
    let goes = counted.is_ok() && evict(&file);
    if !goes {
        println!("skipped: no cachestat, or files are in memory: {counted:?}");
    }
    goes
}

/// The stage reads the sink to verify it, which refills the cache; so the pages are counted
/// before that.
fn after(stage: Stage, case: Case) -> (Outcome, u64, u64) {
    let (source, sink) = (stage.source.clone(), stage.sink.clone());
    let mut counts = (0, 0);
    let outcome = stage.run_with(&mut Random::of(1), |stage, chance| {
        let end = stage.drive(chance);
        counts = (cached(&source), cached(&sink));
        end
    });
    assert!(matches!(outcome.end, Ok(Progress::Done)), "{case}: {:?}", outcome.end);
    (outcome, counts.0, counts.1)
}

/// A page to which a socket or a pipe refers stays, so only copying vias drop all.
fn drops_all(case: Case, outcome: &Outcome) -> bool {
    let by_reference =
        [Via::Sendfile, Via::Splice, Via::Zerocopy].contains(&outcome.report.effective);
    case.to_file() || !by_reference
}

/// Runs every case with a policy, the source evicted or in the cache.
fn policy(cache: CachePolicy, cold: bool, check: impl Fn(Case, &Outcome, u64, u64)) {
    if !has_a_disk() {
        return;
    }
    let content = pattern(6 << 20, 41)[..].repeat(2)[..LEN].to_vec();
    for case in Case::all().into_iter().filter(|case| case.blocking) {
        let mut plan = Plan::new(case, content.clone());
        plan.settings.cache = cache;
        let stage = plan.stage();
        if cold {
            assert!(evict(&stage.source), "{case}");
        } else {
            fdatasync(&stage.source).unwrap();
        }
        let (outcome, source, sink) = after(stage, case);
        assert!(outcome.received == content, "{case}, {cache}");
        check(case, &outcome, source, sink);
    }
}

#[test]
fn kept_pages_stay() {
    policy(CachePolicy::Keep, false, |case, outcome, source, sink| {
        assert_eq!(outcome.report.cache, CachePolicy::Keep, "{case}");
        assert_eq!(outcome.report.calls.fadvise64, 0, "{case}");
        let pages = LEN as u64 / 4096;
        assert!(!case.of_file() || source == pages, "{case}: {source}");
        assert!(!case.to_file() || outcome.report.effective == Via::Direct || sink > 0, "{case}");
    });
}

#[test]
fn in_order_is_said_once() {
    policy(CachePolicy::Sequential, true, |case, outcome, _, _| {
        assert_eq!(outcome.report.cache, CachePolicy::Sequential, "{case}");
        assert_eq!(outcome.report.calls.fadvise64, u64::from(case.of_file()), "{case}");
    });
}

#[test]
fn dropped_pages_are_gone_at_the_end() {
    policy(CachePolicy::Drop, false, |case, outcome, source, sink| {
        assert_eq!(outcome.report.cache, CachePolicy::Drop, "{case}");
        if drops_all(case, outcome) {
            assert!(!case.of_file() || source == 0, "{case}: {source} of the source stay");
            assert!(!case.to_file() || sink == 0, "{case}: {sink} of the sink stay");
        }
    });
}

#[test]
fn uncached_pages_are_gone_or_the_report_says_so() {
    policy(CachePolicy::Uncached, true, |case, outcome, source, sink| {
        let report = &outcome.report;
        match report.cache {
            CachePolicy::Uncached => {
                assert_eq!(report.effective, Via::Copy, "{case}");
                let has_file = case.of_file() || case.to_file();
                let said = report.calls.preadv2 + report.calls.pwritev2 > 0;
                assert_eq!(said, has_file, "{case}: {report:?}");
                // Written pages are dropped when they are on the disk.
                assert!(!case.of_file() || source == 0, "{case}: {source} of the source stay");
            }
            CachePolicy::Drop if drops_all(case, outcome) => {
                assert!(!case.of_file() || source == 0, "{case}: {source} of the source stay");
                assert!(!case.to_file() || sink == 0, "{case}: {sink} of the sink stay");
            }
            CachePolicy::Drop => {}
            other => panic!("{case}: {other}"),
        }
    });
}

#[test]
fn the_cache_is_passed_by() {
    policy(CachePolicy::Direct, true, |case, outcome, source, sink| {
        let report = &outcome.report;
        let chosen = [Via::Auto, Via::Copy, Via::Direct].contains(&case.via);
        if !report.fallbacks.is_empty() || !chosen || !case.of_file() {
            assert!(report.cache != CachePolicy::Keep, "{case}: {report:?}");
            return;
        }
        assert_eq!((report.effective, report.cache), (Via::Direct, CachePolicy::Direct), "{case}");
        assert_eq!(source, 0, "{case}");
        assert!(!case.to_file() || sink == 0, "{case}: {sink} of the sink stay");
    });
}

/// Whether files can be read past the cache here.
fn has_direct() -> bool {
    let file = tempfile::tempfile_in(crate::stage::DISK).unwrap();
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    open(path, OFlags::RDONLY | OFlags::DIRECT, Mode::empty()).is_ok()
}

/// Returns how often it reports a miss.
fn asked(case: Case, cold: bool) -> u64 {
    let content = pattern(3 << 20, 42);
    let settings = Settings::from(case.via).on_miss(OnMiss::Report);
    let stage = Plan { settings, ..Plan::new(case, content.clone()) }.stage();
    if cold {
        assert!(evict(&stage.source), "{case}");
    }
    let mut asked = 0;
    let outcome = stage.run_with(&mut Random::of(1), |stage, _| {
        loop {
            match stage.step()? {
                Progress::NeedsWorker => {
                    asked += 1;
                    stage.warm()?;
                    let next = stage.step()?;
                    assert!(matches!(next, Progress::Moved(_)), "{case}: warm, and {next:?}");
                }
                Progress::Moved(_) | Progress::NeedsZerocopyCompletion => {}
                end => return Ok(end),
            }
        }
    });
    assert!(matches!(outcome.end, Ok(Progress::Done)), "{case}");
    assert!(outcome.received == content, "{case}");
    asked
}

#[test]
fn only_a_miss_needs_a_worker() {
    if !has_a_disk() {
        return;
    }
    for case in Case::all().into_iter().filter(|case| case.of_file() && case.blocking) {
        // One reads the disk in any case, and one reads nothing.
        let cold = |cold| asked(case, cold) > 0;
        match case.via {
            Via::Direct if has_direct() => assert!(cold(false) && cold(true), "{case}"),
            Via::Reflink if !cold(true) => assert!(!cold(false), "{case}"),
            _ => assert!(cold(true) && !cold(false), "{case}"),
        }
    }
}

/// A small file is copied if it is in memory; otherwise its pages are sent.
#[test]
fn auto_sends_pages_on_a_miss() {
    if !has_a_disk() {
        return;
    }
    let content = pattern(100_000, 43);
    let auto = |case: &Case| case.via == Via::Auto && case.direction == Direction::FileToSocket;
    for case in Case::all().into_iter().filter(auto) {
        for (cold, ran) in [(false, Via::Copy), (true, Via::Sendfile)] {
            let stage = Plan::new(case, content.clone()).stage();
            assert!(!cold || evict(&stage.source), "{case}");
            let outcome = stage.run(&mut Random::of(1));
            assert!(outcome.received == content, "{case}");
            assert_eq!(
                (outcome.report.effective, outcome.report.fallbacks.len()),
                (ran, 0),
                "{case}"
            );
        }
    }
}
