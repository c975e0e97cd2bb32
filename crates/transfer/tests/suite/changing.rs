//! Files that are truncated, grow, are deleted or rewritten while they are sent.
//!
//! By reference means that bytes in flight may still change: then a byte is the old one or the
//! new one, or the zero behind a new end, but never one of another file.

use karez_transfer::{Edit, Progress, Settings, Via};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, thread};

use crate::case::{Case, assert_report};
use crate::random::{Random, pattern};
use crate::stage::{DISK, Outcome, Plan, Stage};

const LEN: usize = 300_000;

fn from_file() -> impl Iterator<Item = Case> {
    Case::all().into_iter().filter(|case| case.of_file() && (!case.blocking || case.to_file()))
}

/// One that stands in the middle after a few steps.
fn slow(case: Case, content: &[u8]) -> Plan {
    let settings = Settings::from(case.via).chunk(20_000).max_per_step(20_000);
    Plan { settings, buffers: Some(20_000), ..Plan::new(case, content.to_vec()) }
}

/// Steps a little, changes the file, and continues to the end.
fn disturbed(plan: Plan, chance: &mut Random, happen: impl FnOnce(&Stage)) -> Outcome {
    plan.stage().run_with(chance, |stage, chance| {
        for _ in 0..3 {
            if !matches!(stage.step()?, Progress::Moved(_)) {
                break;
            }
        }
        happen(stage);
        stage.drive(chance)
    })
}

/// Returns whether `received` is `old` up to the changed part, and `new` or `old` behind.
fn is_either(received: &[u8], old: &[u8], new: &[u8]) -> bool {
    received.len() <= old.len()
        && received.iter().zip(old).zip(new).all(|((byte, old), new)| byte == old || byte == new)
}

#[test]
fn a_truncated_file_is_reported_and_never_a_signal() {
    let content = pattern(LEN, 21);
    for case in from_file() {
        for end in [0, 5_000, 65_536, 100_001, LEN - 1] {
            let mut moved = 0;
            let outcome = disturbed(slow(case, &content), &mut Random::of(4), |stage| {
                moved = stage.moving.report().bytes;
                stage.source.set_len(end as u64).unwrap();
            });
            let what = format!("{case}, cut at {end} after {moved}: {:?}", outcome.report);
            let bytes = outcome.report.bytes;
            // A clone is made at once, or it is not.
            if moved == LEN as u64 {
                assert!(outcome.received == content, "{what}");
                continue;
            }
            let missing = LEN as u64 - bytes;
            assert_eq!(outcome.end.unwrap(), Progress::Truncated { missing }, "{what}");
            let mut cut = content.clone();
            cut[end..].fill(0);
            assert!(is_either(&outcome.received, &content, &cut), "{what}");
            assert_eq!(outcome.received.len() as u64, bytes, "{what}");
            assert!(bytes >= moved.max(end as u64), "{what}");
        }
    }
}

#[test]
fn edits_behind_the_new_end_of_a_file_are_no_signal() {
    let content = pattern(6 << 20, 21);
    let edits: Vec<_> = (0..60_u64)
        .map(|place| Edit { offset: place * 100_000 + 9, bytes: vec![b'!'; 5000].into() })
        .collect();
    let edits: Arc<[Edit]> = edits.into();
    let mut edited = content.clone();
    for edit in edits.iter() {
        edited[edit.offset as usize..][..edit.bytes.len()].copy_from_slice(&edit.bytes);
    }
    for case in from_file().filter(|case| case.via == Via::Cow) {
        // The first lies behind the sent bytes but within the window, the second behind the window.
        for end in [0, 1 << 20, 4_200_000_usize, 6 << 20] {
            let mut plan = Plan::new(case, content.clone());
            plan.settings.max_per_step = 100_000;
            plan.settings.chunk = Some(100_000);
            plan.edits = Some(Arc::clone(&edits));
            let outcome = disturbed(plan, &mut Random::of(4), |stage| {
                stage.source.set_len(end as u64).unwrap();
            });
            let bytes = outcome.received.len();
            let what = format!("{case}, cut at {end}, {bytes} arrived");
            if end == content.len() {
                assert_eq!(outcome.end.unwrap(), Progress::Done, "{what}");
                assert!(outcome.received == edited, "{what}");
                assert!(outcome.report.pages_copied > 60, "{what}");
            } else {
                let missing = (content.len() - bytes) as u64;
                assert_eq!(outcome.end.unwrap(), Progress::Truncated { missing }, "{what}");
                let mut cut = edited.clone();
                cut[end..].fill(0);
                assert!(is_either(&outcome.received, &edited, &cut), "{what}");
            }
        }
    }
}

#[test]
fn a_file_that_is_cut_off_and_grows_again_and_again_never_ends_the_process() {
    let content = vec![b'a'; 1 << 20];
    for case in from_file().filter(|case| matches!(case.via, Via::Mmap | Via::Cow | Via::Zerocopy))
    {
        let over = AtomicBool::new(false);
        let mut plan = Plan::new(case, content.clone());
        if case.via == Via::Cow {
            let edit = |place: u64| Edit { offset: place * 40_000, bytes: vec![b'a'; 8192].into() };
            plan.edits = Some((0..20).map(edit).collect());
        }
        let source = Arc::new(tempfile::tempfile_in(DISK).unwrap());
        source.write_all_at(&content, 0).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut chance = Random::of(1);
                while !over.load(Ordering::Relaxed) {
                    source.set_len(chance.amount(1 << 20) as u64 - 1).unwrap();
                    source.write_all_at(&content, 0).unwrap();
                }
            });
            for _ in 0..20 {
                let sink = Arc::new(tempfile::tempfile_in(DISK).unwrap());
                let stage = plan.clone().between(Arc::clone(&source), sink);
                let outcome = stage.run(&mut Random::of(9));
                let end = outcome.end.unwrap();
                assert!(matches!(end, Progress::Done | Progress::Truncated { .. }), "{case}");
                assert!(outcome.received.iter().all(|byte| [0, b'a'].contains(byte)), "{case}");
            }
            over.store(true, Ordering::Relaxed);
        });
    }
}

#[test]
fn a_growing_file_sends_only_its_range() {
    let content = pattern(LEN, 22);
    for case in from_file() {
        let outcome = disturbed(slow(case, &content), &mut Random::of(4), |stage| {
            stage.source.write_all_at(b"more", LEN as u64).unwrap();
        });
        assert_eq!(outcome.end.unwrap(), Progress::Done, "{case}");
        assert!(outcome.received == content, "{case}");
        assert_report(case, &outcome.report, LEN as u64, &case.to_string());
    }
}

#[test]
fn missing_bytes_may_be_appended_later() {
    let content = pattern(LEN, 22);
    for case in from_file() {
        let there = LEN - 10_000;
        let plan = Plan::new(case, content.clone());
        let outcome = plan.stage().run_with(&mut Random::of(4), |stage, chance| {
            stage.source.set_len(there as u64).unwrap();
            let end = stage.drive(chance)?;
            assert_eq!(end, Progress::Truncated { missing: 10_000 }, "{case}");
            assert_eq!(stage.moving.report().bytes, there as u64, "{case}");
            stage.source.write_all_at(&content[there..], there as u64).unwrap();
            stage.drive(chance)
        });
        assert_eq!(outcome.end.unwrap(), Progress::Done, "{case}");
        assert!(outcome.received == content, "{case}: {}", outcome.received.len());
    }
}

#[test]
fn a_range_behind_the_end_has_nothing() {
    for case in from_file() {
        let plan = Plan { source_at: 1000, ..Plan::new(case, pattern(LEN, 3)) };
        let outcome = plan.stage().run_with(&mut Random::of(1), |stage, chance| {
            stage.source.set_len(10).unwrap();
            stage.drive(chance)
        });
        let missing = LEN as u64;
        assert_eq!(outcome.end.unwrap(), Progress::Truncated { missing }, "{case}");
        assert_eq!((outcome.report.bytes, outcome.received.len()), (0, 0), "{case}");
    }
}

#[test]
fn a_deleted_file_is_sent_to_its_end() {
    let content = pattern(LEN, 23);
    for case in from_file() {
        let named = tempfile::NamedTempFile::new_in(DISK).unwrap();
        named.as_file().write_all_at(&content, 0).unwrap();
        let path = named.path().to_owned();
        let source = Arc::new(named.as_file().try_clone().unwrap());
        let sink = Arc::new(tempfile::tempfile_in(DISK).unwrap());
        let stage = slow(case, &content).between(source, sink);
        let outcome = stage.run_with(&mut Random::of(4), |stage, chance| {
            stage.step()?;
            fs::remove_file(&path).unwrap();
            stage.drive(chance)
        });
        assert_eq!(outcome.end.unwrap(), Progress::Done, "{case}");
        assert!(outcome.received == content, "{case}");
        assert_report(case, &outcome.report, LEN as u64, &case.to_string());
    }
}

#[test]
fn a_rewritten_file_arrives_as_it_was_or_as_it_is() {
    let (old, new) = (pattern(LEN, 24), pattern(LEN, 25));
    for case in from_file() {
        let mut moved = 0;
        let outcome = disturbed(slow(case, &old), &mut Random::of(4), |stage| {
            moved = stage.moving.report().bytes as usize;
            stage.source.write_all_at(&new, 0).unwrap();
        });
        assert_eq!(outcome.end.unwrap(), Progress::Done, "{case}");
        assert!(is_either(&outcome.received, &old, &new), "{case}");
        assert_eq!(outcome.received.len(), LEN, "{case}");
        // Bytes read late are new; a clone is made at once, and a pipe or buffer holds old ones.
        if moved < LEN / 2 && case.via != Via::Reflink {
            assert!(outcome.received[LEN - 10_000..] == new[LEN - 10_000..], "{case}");
        }
        assert_report(case, &outcome.report, LEN as u64, &case.to_string());
    }
}

#[test]
fn holes_arrive_as_zeros() {
    for case in from_file() {
        let mut content = vec![0; 2 << 20];
        content[1 << 20..][..5000].copy_from_slice(&pattern(5000, 1));
        let stage = Plan::new(case, content.clone()).stage();
        let outcome = stage.run_with(&mut Random::of(4), |stage, chance| {
            stage.source.set_len(0).unwrap();
            stage.source.set_len(2 << 20).unwrap();
            stage.source.write_all_at(&content[1 << 20..][..5000], 1 << 20).unwrap();
            stage.drive(chance)
        });
        assert_eq!(outcome.end.unwrap(), Progress::Done, "{case}");
        assert!(outcome.received == content, "{case}");
        assert_report(case, &outcome.report, 2 << 20, &case.to_string());
    }
}
