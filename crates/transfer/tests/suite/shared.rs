//! One open file in the hands of many transfers, each with offsets of its own: they neither use nor
//! move the position of the file, which all of them and the caller share.

use karez_transfer::{Progress, Settings};
use rustix::fs::{SeekFrom, seek, tell};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::thread;

use crate::case::Case;
use crate::image::Image;
use crate::random::{Random, pattern};
use crate::stage::{DISK, Plan};

const THREADS: usize = 8;

/// How long the part of a thread is: whole blocks, and not.
const PARTS: [usize; 2] = [128 << 10, 100_003];

const ROUNDS: usize = 6;

/// Where the caller has left the positions of its files.
const POSITIONS: (u64, u64) = (12_345, 54_321);

#[test]
fn transfers_share_files_on_disk() {
    every_via_shares(Path::new(DISK), ROUNDS);
}

#[test]
fn transfers_share_files_in_memory() {
    every_via_shares(Path::new("/dev/shm"), ROUNDS);
}

#[test]
fn transfers_share_files_on_btrfs() {
    if let Some(image) = Image::made_by(&["mkfs.btrfs", "-q"], 256) {
        every_via_shares(&image.path, ROUNDS);
    }
}

#[test]
fn transfers_share_files_on_xfs() {
    if let Some(image) = Image::made_by(&["mkfs.xfs", "-q", "-m", "reflink=1"], 400) {
        every_via_shares(&image.path, ROUNDS);
    }
}

fn every_via_shares(files: &Path, rounds: usize) {
    if tempfile::tempfile_in(files).is_err() {
        println!("skipped: there is no {}", files.display());
        return;
    }
    let of_files = |case: &Case| case.blocking && (case.of_file() || case.to_file());
    for case in Case::all().into_iter().filter(of_files) {
        for part in PARTS {
            for round in 0..rounds {
                share(case, files, part, round);
            }
        }
    }
}

/// All threads move a part at once, in an order that differs from round to round.
fn share(case: Case, files: &Path, part: usize, round: usize) {
    let content = pattern(THREADS * part, round as u64);
    let [source, sink] = [(); 2].map(|()| Arc::new(tempfile::tempfile_in(files).unwrap()));
    source.write_all_at(&content, 0).unwrap();
    seek(&source, SeekFrom::Start(POSITIONS.0)).unwrap();
    seek(&sink, SeekFrom::Start(POSITIONS.1)).unwrap();
    let start = Barrier::new(THREADS);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (content, source, sink, start) = (&content, &source, &sink, &start);
            scope.spawn(move || {
                let at = (thread * (round | 1) + round) % THREADS * part;
                let mine = &content[at..at + part];
                start.wait();
                one_part(case, mine, at as u64, (source, sink));
            });
        }
    });
    let what = format!("{case} in {}, parts of {part}", files.display());
    assert_eq!((tell(&source).unwrap(), tell(&sink).unwrap()), POSITIONS, "{what}");
    if case.to_file() {
        let mut stored = vec![0; content.len()];
        sink.read_exact_at(&mut stored, 0).unwrap();
        assert!(stored == content, "{what}");
        assert_eq!(sink.metadata().unwrap().len(), content.len() as u64, "{what}");
    }
}

fn one_part(case: Case, mine: &[u8], at: u64, (source, sink): (&Arc<File>, &Arc<File>)) {
    let settings = Settings::from(case.via).chunk(16 << 10);
    let plan = Plan { settings, source_at: at, sink_at: at, ..Plan::new(case, mine.to_vec()) };
    let stage = plan.between(Arc::clone(source), Arc::clone(sink));
    let outcome = stage.run(&mut Random::of(at));
    assert!(matches!(outcome.end, Ok(Progress::Done)), "{case}: {:?}", outcome.report);
    assert!(outcome.received == mine, "{case} at {at}: {:?}", outcome.report);
}
