//! What ends before its end: a copy that lacks bytes of its original never gets the final name. A 0
//! that a system call is made to return stands for a file that is cut off there and written anew
//! before anything else is asked about it.

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

/// The via, its call, words that tell that from others of its name.
const CALLS: [(&str, &str, &[&str]); 5] = [
    ("copy-range", "copy_file_range", &[]),
    ("sendfile", "sendfile", &[]),
    ("splice", "splice", &[]),
    ("direct", "pread64", &["524288"]),
    ("copy", "pread64", &["49152"]),
];

#[test]
fn a_0_in_the_middle_ends_no_copy() {
    let (root, from, to) = root();
    for (via, call, words) in CALLS {
        for nth in [1, 2, 3] {
            let command = command(&[&"--via", &via, &from, &to]);
            let Some((_, calls)) = strace::run(&[], &command) else { return };
            fs::remove_file(&to).unwrap();
            let when = ordinal(&calls, call, words, nth);
            // A plain read is asked twice where bytes had moved in the same step.
            let times = if via == "copy" { "+" } else { "" };
            let inject = format!("inject={call}:retval=0:when={when}{times}");
            let (output, calls) = strace::run(&["-e", &inject], &command).unwrap();
            assert!(strace::injected(&calls, call) > 0, "{inject}");
            let outcome = Outcome::of(&output);
            if via == "copy" {
                let at = (nth - 1) * (48 << 10);
                let was = format!("was cut off while it was copied, from {SIZE} bytes to {at}");
                outcome.expect_complaint(&[from.to_str().unwrap(), &was]);
                assert_eq!(names(root.path()), ["from"], "{inject}");
                continue;
            }
            let outcome = outcome.expect_success();
            assert!(fs::read(&to).unwrap() == pattern(SIZE), "{via} {nth}: {outcome:?}");
            // Where something had moved in the same step, the next one asks again.
            let told = outcome.fallbacks();
            assert!(told.len() == 1 || nth > 1, "{outcome:?}");
            assert!(told.iter().all(|told| (told.0, told.1) == (via, 61)), "{outcome:?}");
            fs::remove_file(&to).unwrap();
        }
    }
}

#[test]
fn data_behind_what_was_taken_for_the_last_hole_is_copied() {
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
    // It says that there is no data behind the first extent, as it does of a file that is cut off.
    let when = ordinal(&calls, "lseek", &["SEEK_DATA"], 1);
    let inject = format!("inject=lseek:error=ENXIO:when={when}");
    let (output, _) = strace::run(&["-e", &inject], &command).unwrap();
    Outcome::of(&output).expect_success();
    assert!(fs::read(&to).unwrap() == fs::read(&from).unwrap());
    assert_eq!(fs::metadata(&to).unwrap().len(), 8 << 20);
}

#[test]
fn files_of_the_kernel_are_read_to_their_end_by_every_via() {
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
    // One that is said to end in its middle: the read at its end finds the rest.
    let Some((_, calls)) = strace::run(&[], &command(&[&"/proc/filesystems", &to])) else { return };
    let when = ordinal(&calls, "pread64", &["49152"], 1);
    let inject = format!("inject=pread64:retval=0:when={when}");
    let (output, _) =
        strace::run(&["-e", &inject], &command(&[&"/proc/filesystems", &to])).unwrap();
    Outcome::of(&output).expect_success();
    assert!(fs::read(&to).unwrap() == fs::read("/proc/filesystems").unwrap());
}
