//! Files that are truncated while copied: a copy that lacks bytes of its original never gets the
//! final name. A system call made to return 0 simulates a file that is truncated at that point and
//! rewritten before the next call.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use crate::copy::{Outcome, command, copy, names};
use crate::files::pattern;
use crate::strace::{self, ordinal};

const SIZE: usize = (35 << 20) + 7;

fn root() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    fs::write(&from, pattern(SIZE)).unwrap();
    (root, from, to)
}

/// The via, its system call, and words that identify the call.
const CALLS: [(&str, &str, &[&str]); 5] = [
    ("copy-range", "copy_file_range", &[]),
    ("sendfile", "sendfile", &[]),
    ("splice", "splice", &[]),
    ("direct", "pread64", &["524288"]),
    ("copy", "pread64", &["49152"]),
];

#[test]
fn early_end_of_file_is_an_error() {
    let (root, from, to) = root();
    for (via, call, words) in CALLS {
        for nth in [1, 2, 3] {
            let command = command(&[&"--via", &via, &from, &to]);
            let Some((_, calls)) = strace::run(&[], &command) else { return };
            fs::remove_file(&to).unwrap();
            let when = ordinal(&calls, call, words, nth);
            // A plain read is repeated where bytes had moved in the same step.
            let times = if via == "copy" { "+" } else { "" };
            let inject = format!("inject={call}:retval=0:when={when}{times}");
            let (output, calls) = strace::run(&["-e", &inject], &command).unwrap();
            assert!(strace::injected(&calls, call) > 0, "{inject}");
            let outcome = Outcome::of(&output);
            if via == "copy" {
                let at = (nth - 1) * (48 << 10);
                let was = format!("was truncated while it was copied, from {SIZE} bytes to {at}");
                outcome.expect_error(&[from.to_str().unwrap(), &was]);
                assert_eq!(names(root.path()), ["from"], "{inject}");
                continue;
            }
            let outcome = outcome.expect_success();
            assert!(fs::read(&to).unwrap() == pattern(SIZE), "{via} {nth}: {outcome:?}");
            // Where bytes had moved in the same step, the next step reads again.
            let fallbacks = outcome.fallbacks();
            assert!(fallbacks.len() == 1 || nth > 1, "{outcome:?}");
            assert!(
                fallbacks.iter().all(|fallback| (fallback.0, fallback.1) == (via, 0)),
                "{outcome:?}"
            );
            let mut reasons = outcome.json["fallbacks"].as_array().unwrap().iter();
            let early = "it stopped before the end of the source";
            assert!(reasons.all(|fallback| fallback["error"] == early), "{outcome:?}");
            fs::remove_file(&to).unwrap();
        }
    }
}

#[test]
fn data_after_an_early_enxio_is_copied() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    let file = File::create(&from).unwrap();
    for at in [0, 2 << 20, 4 << 20] {
        file.write_all_at(&pattern(1 << 20), at).unwrap();
    }
    file.set_len(8 << 20).unwrap();
    file.sync_all().unwrap();
    let command = command(&[&"--via", &"copy", &from, &to]);
    let Some((output, calls)) = strace::run(&[], &command) else { return };
    let holes = Outcome::of(&output).expect_success().count("bytes_holes");
    if holes != 5 << 20 {
        println!("skipped: this file system has no holes");
        return;
    }
    // ENXIO: no data after the first extent, as for a truncated file.
    let when = ordinal(&calls, "lseek", &["SEEK_DATA"], 1);
    let inject = format!("inject=lseek:error=ENXIO:when={when}");
    let (output, _) = strace::run(&["-e", &inject], &command).unwrap();
    Outcome::of(&output).expect_success();
    assert!(fs::read(&to).unwrap() == fs::read(&from).unwrap());
    assert_eq!(fs::metadata(&to).unwrap().len(), 8 << 20);
}

#[test]
fn every_via_reads_proc_files_to_their_end() {
    let root = tempfile::tempdir().unwrap();
    let to = root.path().join("to");
    let pages = ["/proc/filesystems", "/proc/config.gz", "/sys/kernel/btf/vmlinux"];
    let lines = ["/sys/kernel/mm/transparent_hugepage/enabled", "/sys/kernel/vmcoreinfo"];
    for from in pages.into_iter().chain(lines) {
        let Ok(expected) = fs::read(from) else {
            println!("skipped: there is no {from}");
            continue;
        };
        for via in crate::copy::vias() {
            copy(&[&"--via", &via.name(), &from, &to]).expect_success();
            assert!(fs::read(&to).unwrap() == expected, "{from}, {via}");
        }
    }
    // A file that seems to end in its middle: the read at its end finds the rest.
    let Some((_, calls)) = strace::run(&[], &command(&[&"/proc/filesystems", &to])) else { return };
    let when = ordinal(&calls, "pread64", &["49152"], 1);
    let inject = format!("inject=pread64:retval=0:when={when}");
    let (output, _) =
        strace::run(&["-e", &inject], &command(&[&"/proc/filesystems", &to])).unwrap();
    Outcome::of(&output).expect_success();
    assert!(fs::read(&to).unwrap() == fs::read("/proc/filesystems").unwrap());
}
