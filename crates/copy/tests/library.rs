//! The library without the command line: observers, and copies of files of any shape.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it skips"
)]

use karez_copy::{Error, Observer, Options, Silent, copy};
use karez_transfer::{CachePolicy, Direction, Via};
use proptest::prelude::*;
use rustix::fs::{FallocateFlags, fallocate};
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::slice;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Counts events, and stops after a number of bytes.
#[derive(Default)]
struct Listener {
    found: AtomicU64,
    advanced: AtomicU64,
    placed: AtomicU64,
    failures: Mutex<Vec<String>>,
    stop_after: Option<u64>,
}

impl Observer for Listener {
    fn file_found(&self, bytes: u64) {
        self.found.fetch_add(bytes, Ordering::Relaxed);
    }

    fn advanced(&self, bytes: u64) {
        self.advanced.fetch_add(bytes, Ordering::Relaxed);
    }

    fn file_done(&self) {
        self.placed.fetch_add(1, Ordering::Relaxed);
    }

    fn failed(&self, error: &Error) {
        self.failures.lock().unwrap().push(error.to_string());
    }

    fn should_stop(&self) -> bool {
        self.stop_after.is_some_and(|limit| self.advanced.load(Ordering::Relaxed) >= limit)
    }
}

fn with_jobs(jobs: usize) -> Options {
    Options::new().recursive(true).jobs(jobs)
}

#[test]
fn observer_receives_every_byte_hole_file_and_failure() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    fs::create_dir(&from).unwrap();
    for number in 0..20_usize {
        fs::write(from.join(number.to_string()), vec![7; number * 1000]).unwrap();
    }
    File::create(from.join("hole")).unwrap().set_len(1 << 30).unwrap();
    for jobs in [1, 4] {
        fs::create_dir_all(to.join("7")).unwrap();
        let listener = Listener::default();
        let summary = copy(&[from.join(".")], &to, &with_jobs(jobs), &listener);
        let all = 190_000 + (1 << 30) - 7000;
        assert_eq!(listener.found.into_inner(), all);
        assert_eq!(listener.advanced.into_inner(), all);
        assert_eq!((listener.placed.into_inner(), summary.files, summary.failed), (20, 20, 1));
        let failures = listener.failures.into_inner().unwrap();
        assert!(failures.len() == 1 && failures[0].contains("to/7\" is a directory"));
        fs::remove_dir_all(&to).unwrap();
    }
}

#[test]
fn observer_stops_the_copy_after_complete_files() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    fs::create_dir(&from).unwrap();
    for number in 0..30_usize {
        fs::write(from.join(number.to_string()), vec![7; 3 << 20]).unwrap();
    }
    for jobs in [1, 4] {
        for via in [Via::Copy, Via::Sendfile] {
            let listener = Listener { stop_after: Some(40 << 20), ..Listener::default() };
            let options = with_jobs(jobs).via(via);
            let summary = copy(std::slice::from_ref(&from), &to, &options, &listener);
            assert!(summary.files > 5 && summary.files < 30 && summary.failed == 0);
            let copied: Vec<_> = fs::read_dir(&to).unwrap().map(Result::unwrap).collect();
            assert_eq!(copied.len() as u64, summary.files);
            assert!(copied.iter().all(|one| one.metadata().unwrap().len() == 3 << 20));
            fs::remove_dir_all(&to).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Any pattern of data and holes, by any via.
    #[test]
    fn any_file_is_copied_exactly(
        writes in prop::collection::vec((0_u64..1 << 21, 1_usize..60_000, 1_u8..), 0..10),
        size in 0_u64..1 << 22,
        via in prop::sample::select(Direction::FileToFile.vias()),
        cache in prop::sample::select(CachePolicy::ALL),
        archive: bool,
        existing: bool,
    ) {
        let root = tempfile::tempdir().unwrap();
        let (from, to) = (root.path().join("from"), root.path().join("to"));
        let file = File::create(&from).unwrap();
        for (at, length, byte) in writes {
            file.write_all_at(&vec![byte; length], at).unwrap();
        }
        file.set_len(size).unwrap();
        if existing {
            fs::write(&to, "something else").unwrap();
        }
        let options = Options::new().via(via).cache(cache).archive(archive);
        let summary = copy(std::slice::from_ref(&from), &to, &options, &Silent);
        prop_assert_eq!((summary.files, summary.failed), (1, 0));
        prop_assert_eq!(summary.bytes + summary.hole_bytes, size);
        prop_assert_eq!(summary.bytes_copied + summary.bytes_shared + summary.bytes_unknown, summary.bytes);
        prop_assert!(fs::read(&from).unwrap() == fs::read(&to).unwrap());
        prop_assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2);
    }
}

/// Extents of a file that is changed while it is copied, and those of them that are changed.
const EXTENTS: (u64, u64) = (400, 100);

/// An extent with a hole as large behind it.
const STRIDE: u64 = 8192;

/// Punches and rewrites the first extents until all copies are made.
fn change(file: &File, is_over: &AtomicBool) {
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    while !is_over.load(Ordering::Relaxed) {
        for at in (0..EXTENTS.1).map(|number| number * STRIDE) {
            fallocate(file, punch, at, STRIDE / 2).unwrap();
            file.write_all_at(&[7; 4096], at).unwrap();
        }
    }
}

/// The unchanged extents are in every copy, and each changed one is old or new.
#[test]
fn no_data_is_lost_after_a_hole_punched_meanwhile() {
    // In memory, if possible: a disk makes few changes while a file is copied.
    let root = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    let file = File::create(&from).unwrap();
    for at in (0..EXTENTS.0).map(|number| number * STRIDE) {
        file.write_all_at(&[7; 4096], at).unwrap();
    }
    file.set_len(EXTENTS.0 * STRIDE).unwrap();
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    if let Err(error) = fallocate(&file, punch, 0, STRIDE / 2) {
        println!("skipped: fallocate: {error}");
        return;
    }
    let is_over = AtomicBool::new(false);
    let lost = std::thread::scope(|scope| {
        scope.spawn(|| change(&file, &is_over));
        let vias = [Via::Auto, Via::Sendfile, Via::Splice, Via::Mmap, Via::Copy];
        let lost = (0..300).filter(|&round| {
            let options = Options::new().via(vias[round % vias.len()]);
            let summary = copy(slice::from_ref(&from), &to, &options, &Silent);
            summary.failed > 0 || !is_whole(&fs::read(&to).unwrap())
        });
        let lost = lost.count();
        is_over.store(true, Ordering::Relaxed);
        lost
    });
    assert_eq!(lost, 0, "of 300");
}

fn is_whole(copied: &[u8]) -> bool {
    let (extents, changed) = (EXTENTS.0 as usize, EXTENTS.1 as usize);
    copied.len() == extents * STRIDE as usize
        && copied.chunks(STRIDE as usize).enumerate().all(|(number, extent)| {
            let (data, hole) = extent.split_at(4096);
            let old = data.iter().all(|&byte| byte == 7);
            let punched = number < changed && data.iter().all(|&byte| byte == 0 || byte == 7);
            hole.iter().all(|&byte| byte == 0) && (old || punched)
        })
}

/// Truncates and rewrites the end of a file repeatedly.
fn rewrite_end(path: &std::path::Path, content: &[u8], over: &AtomicBool) {
    let file = File::options().write(true).open(path).unwrap();
    let end = content.len() - 1000;
    while !over.load(Ordering::Relaxed) {
        file.set_len(end as u64).unwrap();
        file.write_all_at(&content[end..], end as u64).unwrap();
    }
}

/// A copy of a file that is truncated and rewritten meanwhile is as long as the file was when it was
/// opened, or fails.
#[test]
fn copy_of_a_changing_file_is_never_short() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    let content = vec![b'a'; 100_000];
    fs::write(&from, &content).unwrap();
    let (over, mut wrong) = (AtomicBool::new(false), Vec::new());
    std::thread::scope(|scope| {
        scope.spawn(|| rewrite_end(&from, &content, &over));
        for via in Direction::FileToFile.vias().iter().filter(|via| **via != Via::Cow) {
            for _ in 0..400 {
                let listener = Listener::default();
                let options = Options::new().via(*via);
                let summary = copy(std::slice::from_ref(&from), &to, &options, &listener);
                // Pages sent by reference may be zeroed when the file is truncated.
                let (found, is) =
                    (listener.found.into_inner(), fs::metadata(&to).map(|it| it.len()));
                if summary.failed == 0 && !is.as_ref().is_ok_and(|&is| is == found) {
                    wrong.push((*via, found, is));
                }
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(wrong.is_empty(), "{wrong:?}");
}
