//! A file that is personalised as it leaves: any edits, any chunk, and the file stays as it is.

use karez_transfer::{Edit, Progress, Via};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use crate::case::{Case, assert_report};
use crate::random::{Random, pattern};
use crate::stage::Plan;

/// Some edits, sorted and apart, of which some touch, some are empty and some lie outside.
fn edits(chance: &mut Random, end: u64) -> Vec<Edit> {
    let mut all = Vec::new();
    let mut offset = 0;
    while offset < end {
        let bytes = vec![b'#'; chance.amount(12_000) - 1];
        let behind = offset + bytes.len() as u64;
        all.push(Edit { offset, bytes: bytes.into() });
        offset = behind + if chance.coin() { 0 } else { chance.amount(40_000) as u64 };
    }
    all
}

#[test]
fn any_edits_arrive_and_the_file_stays_as_it_is() {
    let mut chance = Random::fresh();
    for case in Case::all().into_iter().filter(|case| case.via == Via::Cow) {
        for _ in 0..8 {
            let len = chance.amount(6 << 20);
            let mut plan = Plan::new(case, pattern(len, chance.next() >> 20));
            plan.source_at = chance.amount(100_000) as u64 - 1;
            plan.sink_at = chance.amount(9000) as u64 - 1;
            plan.settings.chunk = chance.coin().then(|| 5000 + chance.amount(500_000) as u32);
            let start = plan.source_at;
            let all = edits(&mut chance, start + len as u64 + 20_000);
            let mut expected = vec![0; start as usize + len + 40_000];
            expected[start as usize..][..len].copy_from_slice(&plan.content);
            for edit in &all {
                let part = &mut expected[edit.offset as usize..][..edit.bytes.len()];
                part.copy_from_slice(&edit.bytes);
            }
            plan.edits = Some(Arc::from(all));
            let content = plan.content.clone();
            let stage = plan.stage();
            let source = stage.source.clone();
            let outcome = stage.run(&mut chance);
            let what = format!("{case}, {len} bytes from {start}");
            assert_eq!(outcome.end.unwrap(), Progress::Done, "{what}");
            assert!(outcome.received == expected[start as usize..][..len], "{what}");
            assert_report(case, &outcome.report, len as u64, &what);
            let mut there = vec![0; len];
            source.read_exact_at(&mut there, start).unwrap();
            assert!(there == content, "{what}: the file was changed");
        }
    }
}

#[test]
fn only_the_pages_touched_are_copied() {
    for case in Case::all().into_iter().filter(|case| case.via == Via::Cow) {
        let at = |offset, length| Edit { offset, bytes: vec![b'#'; length].into() };
        // One page, the same again, two pages that an edit spans, and one in the next window.
        let edits = [at(10, 5), at(100, 3), at(8190, 4), at(5 << 20, 1)];
        let plan = Plan { edits: Some(edits.into()), ..Plan::new(case, pattern(6 << 20, 1)) };
        let outcome = plan.stage().run(&mut Random::of(1));
        assert_eq!(outcome.end.unwrap(), Progress::Done, "{case}");
        assert_eq!(outcome.report.pages_copied, 4, "{case}: {:?}", outcome.report);
    }
}
