//! Files whose holes or length change while they are copied: the result is a copy that `cp` could
//! have made, or an error.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use crate::copy::{Outcome, command, names};
use crate::copy_interrupted::PausedCopy;
use crate::files::pattern;
use crate::strace::{self, name, ordinal};

#[test]
fn seek_error_between_extents_does_not_end_the_copy() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    let file = File::create(&from).unwrap();
    for at in [0, 1 << 20, 2 << 20] {
        file.write_all_at(&pattern(70_000), at).unwrap();
    }
    let command = command(&[&from, &to]);
    let Some((_, calls)) = strace::run(&[], &command) else { return };
    fs::remove_file(&to).unwrap();
    for (kind, errnos) in [
        ("SEEK_DATA", &["EINVAL", "EOPNOTSUPP", "ENOSYS", "EIO"][..]),
        ("SEEK_HOLE", &["EINVAL", "EIO"]),
    ] {
        // The first call detects whether the file system supports holes.
        let when = ordinal(&calls, "lseek", &[kind], if kind == "SEEK_DATA" { 1 } else { 2 });
        for errno in errnos {
            let inject = format!("inject=lseek:error={errno}:when={when}");
            let (output, calls) = strace::run(&["-e", &inject], &command).unwrap();
            assert_eq!(strace::injected(&calls, "lseek"), 1, "{kind}, {errno}");
            Outcome::of(&output).expect_error(&["lseek", from.to_str().unwrap(), "(os error"]);
            assert_eq!(names(root.path()), ["from"], "{kind}, {errno}");
        }
    }
    let inject = "inject=lseek:error=EINVAL:when=1";
    let (output, _) = strace::run(&["-e", inject], &command).unwrap();
    Outcome::of(&output).expect_success();
    assert!(fs::read(&to).unwrap() == fs::read(&from).unwrap(), "without holes");
}

#[test]
fn truncation_within_the_last_mapped_page_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    let content = pattern(100_007);
    fs::write(&from, &content).unwrap();
    let command = command(&[&"--via", &"mmap", &from, &to]);
    let Some((output, calls)) = strace::run(&[], &command) else { return };
    assert_eq!(Outcome::of(&output).expect_success().vias(), ["mmap"]);
    fs::remove_file(&to).unwrap();
    // The last check of the size before the last write.
    let last = calls.iter().rposition(|call| name(call) == "pwrite64").unwrap();
    let when = strace::count(&calls[..last], "fstat");
    let halted = PausedCopy::at(&command, "fstat", when);
    File::options().write(true).open(&from).unwrap().set_len(100_000).unwrap();
    halted.resume().expect_error(&[from.to_str().unwrap(), "was truncated", "100000"]);
    assert_eq!(names(root.path()), ["from"]);
}
