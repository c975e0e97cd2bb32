//! Files whose holes or length change while they are copied: a copy that `cp` could have made, or
//! an error.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use crate::copy::{Outcome, command, names};
use crate::copy_interrupted::Halted;
use crate::files::pattern;
use crate::strace::{self, name, ordinal};

#[test]
fn an_error_between_two_extents_is_not_the_end_of_the_data() {
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
        // The first of all says whether the file system knows holes.
        let when = ordinal(&calls, "lseek", &[kind], if kind == "SEEK_DATA" { 1 } else { 2 });
        for errno in errnos {
            let inject = format!("inject=lseek:error={errno}:when={when}");
            let (output, calls) = strace::run(&["-e", &inject], &command).unwrap();
            assert_eq!(strace::injected(&calls, "lseek"), 1, "{kind}, {errno}");
            Outcome::of(&output).expect_complaint(&["lseek", from.to_str().unwrap(), "(os error"]);
            assert_eq!(names(root.path()), ["from"], "{kind}, {errno}");
        }
    }
    let inject = "inject=lseek:error=EINVAL:when=1";
    let (output, _) = strace::run(&["-e", inject], &command).unwrap();
    Outcome::of(&output).expect_success();
    assert!(fs::read(&to).unwrap() == fs::read(&from).unwrap(), "without holes");
}

#[test]
fn a_file_that_is_cut_off_within_its_last_page_while_it_is_mapped_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    let content = pattern(100_007);
    fs::write(&from, &content).unwrap();
    let command = command(&[&"--via", &"mmap", &from, &to]);
    let Some((output, calls)) = strace::run(&[], &command) else { return };
    assert_eq!(Outcome::of(&output).expect_success().vias(), ["mmap"]);
    fs::remove_file(&to).unwrap();
    // The last look at the size before the last bytes are written.
    let last = calls.iter().rposition(|call| name(call) == "pwrite64").unwrap();
    let when = strace::count(&calls[..last], "fstat");
    let halted = Halted::at(&command, "fstat", when);
    File::options().write(true).open(&from).unwrap().set_len(100_000).unwrap();
    halted.go_on().expect_complaint(&[from.to_str().unwrap(), "was cut off", "100000"]);
    assert_eq!(names(root.path()), ["from"]);
}
