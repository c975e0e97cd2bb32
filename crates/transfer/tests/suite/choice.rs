//! The choices of `auto` by size, ends, edits and policy, and the fallback of a via that a direction
//! does not have. (Misses: cache.rs; cached fallbacks: refusals.rs.)

use karez_transfer::{CachePolicy, Direction, Edit, Fallback, Progress, Reason, Report, Via};
use std::sync::Arc;

use crate::case::{Case, Transport};
use crate::pipes::DIRECTIONS;
use crate::random::{Random, pattern};
use crate::stage::Plan;

/// The longest that `auto` copies rather than passes on.
const SHORT: usize = 160 << 10;

fn auto(direction: Direction, len: usize, change: impl FnOnce(&mut Plan)) -> Report {
    let case = Case::new(direction, Via::Auto, Transport::Tcp, true);
    let content = pattern(len, 51);
    let mut plan = Plan::new(case, content.clone());
    change(&mut plan);
    let edited = plan.edits.is_some();
    let outcome = plan.stage().run(&mut Random::of(1));
    assert_eq!(outcome.end.unwrap(), Progress::Done, "{direction}, {len} bytes");
    assert!(edited || outcome.received == content, "{direction}, {len} bytes");
    outcome.report
}

#[test]
fn short_resident_files_are_copied_and_long_ones_passed_by_reference() {
    for (len, ran) in [(1, Via::Copy), (SHORT, Via::Copy), (SHORT + 1, Via::Sendfile)] {
        let report = auto(Direction::FileToSocket, len, |_| {});
        assert_eq!((report.effective, report.fallbacks.len()), (ran, 0), "{len} bytes");
    }
    for direction in [Direction::SocketToFile, Direction::SocketToSocket] {
        for (len, limited, ran) in [
            (SHORT, true, Via::Copy),
            (SHORT + 1, true, Via::Splice),
            // Who knows how much that will be?
            (1, false, Via::Splice),
        ] {
            let report = auto(direction, len, |plan| plan.limited = limited);
            assert_eq!(
                (report.effective, report.fallbacks.len()),
                (ran, 0),
                "{direction}, {len} bytes"
            );
        }
    }
}

#[test]
fn between_files_the_file_system_has_the_first_word() {
    for len in [1, SHORT + 1] {
        let report = auto(Direction::FileToFile, len, |_| {});
        let refused: Vec<_> = report.fallbacks.iter().map(|fallback| fallback.from).collect();
        assert!([&[][..], &[Via::Reflink]].contains(&&refused[..]), "{report:?}");
        assert!([Via::Reflink, Via::CopyRange].contains(&report.effective), "{report:?}");
    }
}

#[test]
fn edits_and_policies_leave_no_choice() {
    for direction in [Direction::FileToSocket, Direction::FileToFile] {
        for len in [5000, SHORT + 1] {
            let edit = Edit { offset: 7, bytes: Arc::from(*b"edits") };
            let report = auto(direction, len, |plan| plan.edits = Some([edit].into()));
            assert_eq!(report.effective, Via::Cow, "{direction}: {report:?}");
            let report = auto(direction, len, |plan| plan.settings.cache = CachePolicy::Uncached);
            assert_eq!(report.effective, Via::Copy, "{direction}: {report:?}");
            let report = auto(direction, len, |plan| plan.settings.cache = CachePolicy::Direct);
            let ran = report.fallbacks.first().map_or(Via::Direct, |_| Via::Copy);
            assert_eq!(report.effective, ran, "{direction}: {report:?}");
        }
    }
}

/// As if the kernel had refused it.
#[test]
fn a_via_that_a_direction_has_not_is_a_refusal() {
    let content = pattern(100_000, 52);
    for &direction in Direction::ALL.iter().filter(|direction| !DIRECTIONS.contains(direction)) {
        for &via in Via::ALL.iter().filter(|&&via| !direction.has(via)) {
            let case = Case::new(direction, via, Transport::Tcp, true);
            let outcome = Plan::new(case, content.clone()).stage().run(&mut Random::of(1));
            assert_eq!(outcome.end.unwrap(), Progress::Done, "{case}");
            assert!(outcome.received == content, "{case}");
            let report = outcome.report;
            assert_eq!((report.requested, report.effective), (via, Via::Copy), "{case}");
            let refused = Fallback::new(via, Reason::NotOffered, 0);
            assert_eq!(report.fallbacks, [refused], "{case}");
        }
    }
}
