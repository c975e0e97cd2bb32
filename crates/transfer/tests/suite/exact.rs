//! Every via of every direction moves every byte, and the report is correct.

use karez_transfer::{Progress, Settings};

use crate::case::{Case, assert_report};
use crate::random::{Random, pattern};
use crate::stage::{BEHIND, Plan};

/// Nothing, around a page, around a pipe of default and of requested size, and beyond.
pub const SIZES: [usize; 12] = [
    0,
    1,
    4095,
    4096,
    4097,
    (64 << 10) - 1,
    64 << 10,
    (64 << 10) + 1,
    (1 << 20) - 1,
    1 << 20,
    (1 << 20) + 1,
    (3 << 20) + 7,
];

/// Runs an undisturbed plan with all assertions.
fn assert_exact(plan: Plan, what: &str) {
    let (case, limited) = (plan.case, plan.limited && !plan.case.of_file());
    let content = plan.content.clone();
    let outcome = plan.stage().run(&mut Random::of(1));
    assert_eq!(outcome.end.unwrap(), Progress::Done, "{what}: {:?}", outcome.report);
    assert!(outcome.received == content, "{what}: {} arrived", outcome.received.len());
    assert_eq!(outcome.in_flight, 0, "{what}");
    assert_eq!(outcome.behind, if limited { BEHIND } else { b"" }, "{what}");
    assert_report(case, &outcome.report, content.len() as u64, what);
}

#[test]
fn every_size_arrives_to_the_byte() {
    for case in Case::all() {
        for (size, seed) in SIZES.into_iter().zip(1..) {
            let mut plan = Plan::new(case, pattern(size, seed));
            plan.limited = seed % 2 == 0;
            assert_exact(plan, &format!("{case}, {size} bytes"));
        }
    }
}

#[test]
fn offsets_beyond_four_gib_are_right() {
    for case in Case::all() {
        for (source_at, sink_at) in [((4 << 30) - 50_000, 5 << 30), ((5 << 30) + 3, 4 << 30)] {
            let plan = Plan { source_at, sink_at, ..Plan::new(case, pattern(100_000, source_at)) };
            assert_exact(plan, &format!("{case} from {source_at} to {sink_at}"));
        }
    }
}

#[test]
fn any_chunk_share_and_pipe_will_do() {
    let mut chance = Random::fresh();
    for case in Case::all() {
        for _ in 0..6 {
            let chunk = chance.coin().then(|| chance.amount(200_000) as u32);
            let most = chunk.map_or(400_000, |chunk| chunk as usize * 100).min(400_000);
            let settings = Settings::from(case.via)
                .chunk(chunk)
                .max_per_step(chance.amount(300_000) as u64 - 1)
                .pipe_size(chance.one_of(&[0, 1, 4096, 65_536, 100_000, 1 << 20, u32::MAX]));
            let plan = Plan {
                settings,
                source_at: chance.amount(10_000) as u64 - 1,
                sink_at: chance.amount(10_000) as u64 - 1,
                limited: chance.coin(),
                ..Plan::new(case, pattern(chance.amount(most), chance.next() >> 20))
            };
            let what = format!(
                "{case}, {settings:?}, {} bytes from {} to {}",
                plan.content.len(),
                plan.source_at,
                plan.sink_at
            );
            assert_exact(plan, &what);
        }
    }
}

#[test]
fn a_step_moves_about_a_share_and_no_more() {
    for case in Case::all().into_iter().filter(|case| case.blocking) {
        let (chunk, share) = (10_000, 35_000);
        let settings = Settings::from(case.via).chunk(chunk).max_per_step(share);
        let plan = Plan { settings, ..Plan::new(case, pattern(200_000, 3)) };
        let outcome = plan.stage().run_with(&mut Random::of(1), |stage, _| {
            loop {
                match stage.step()? {
                    Progress::Moved(bytes) => assert!(bytes < share + u64::from(chunk), "{case}"),
                    Progress::NeedsZerocopyCompletion => {}
                    end => return Ok(end),
                }
            }
        });
        assert_eq!(outcome.end.unwrap(), Progress::Done, "{case}");
        assert_eq!(outcome.report.bytes, 200_000, "{case}");
    }
}

/// Also after a step that has taken more from its source than the next one may move.
#[test]
fn a_step_moves_at_most_the_requested_number() {
    let mut chance = Random::fresh();
    for case in Case::all().into_iter().filter(|case| case.blocking) {
        let plan = Plan { buffers: Some(20_000), ..Plan::new(case, pattern(300_000, 5)) };
        let outcome = plan.stage().run_with(&mut Random::of(1), |stage, _| {
            loop {
                let most = chance.one_of(&[0, 1, 4096, 70_000]);
                match stage.step_at_most(most)? {
                    Progress::Moved(bytes) => assert!(bytes <= most, "{case}: {bytes} of {most}"),
                    Progress::NeedsZerocopyCompletion => {}
                    end => return Ok(end),
                }
            }
        });
        assert_eq!(outcome.end.unwrap(), Progress::Done, "{case}");
        assert!(outcome.received == pattern(300_000, 5), "{case}");
    }
}
