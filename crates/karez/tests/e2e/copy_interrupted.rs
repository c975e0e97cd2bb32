//! `karez copy` that is killed, stopped or runs out of space, and files that change while they are
//! copied. The final name refers to the old file, to nothing, or to the new one.

use karez_transfer::Via;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::copy::{Outcome, command, copy, names, vias};
use crate::disk_image::Image;
use crate::files::pattern;
use crate::strace::{self, ordinal};
use crate::timeouts::TimedReader;

const SIZE: usize = (35 << 20) + 7;

/// A directory with a source file, and the paths of source and target.
fn root() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    fs::write(&from, pattern(SIZE)).unwrap();
    (root, from, to)
}

/// For each via the system call that moves bytes, and words that identify it.
const MOVED_BY: [(&str, &str, &[&str]); 6] = [
    ("copy-range", "copy_file_range", &[]),
    ("sendfile", "sendfile", &[]),
    ("splice", "splice", &[]),
    ("mmap", "pwrite64", &[]),
    ("direct", "pwrite64", &[]),
    ("copy", "pwrite64", &[]),
];

#[test]
fn signal_leaves_no_partial_file() {
    let (root, from, to) = root();
    let old = b"what was there before".to_vec();
    for (via, call, words) in MOVED_BY {
        for (signal, number) in [("SIGTERM", 15), ("SIGINT", 2), ("SIGHUP", 1), ("SIGKILL", 9)] {
            for existing in [None, Some(&old)] {
                let command = command(&[&"--via", &via, &from, &to]);
                let Some(ended) = signalled(&command, &to, existing, (call, words, 2), signal)
                else {
                    return;
                };
                let what = format!("{via}, {signal}: {ended:?}");
                assert_eq!(ended.status.signal(), Some(number), "{what}");
                assert_eq!(fs::read(&to).ok().as_ref(), existing, "{what}");
                let expected: &[_] = if existing.is_some() { &["from", "to"] } else { &["from"] };
                assert_eq!(names(root.path()), expected, "{what}");
                if signal != "SIGKILL" {
                    assert_eq!(ended.json["signal"], number, "{what}");
                    assert_eq!(ended.count("files"), 0, "{what}");
                    assert!(ended.count("bytes") > 0, "{what}");
                }
            }
        }
    }
}

/// Runs the command under strace, which sends this signal at the `nth` call of this name that
/// contains these words. A first run finds the ordinal of that call; then `to` is restored.
fn signalled(
    command: &Command,
    to: &Path,
    existing: Option<&Vec<u8>>,
    place: (&str, &[&str], usize),
    signal: &str,
) -> Option<Outcome> {
    let (_, calls) = strace::run(&[], command)?;
    match existing {
        Some(old) => fs::write(to, old).unwrap(),
        None => fs::remove_file(to).unwrap(),
    }
    let when = ordinal(&calls, place.0, place.1, place.2);
    let inject = format!("inject={}:signal={signal}:when={when}", place.0);
    let (output, _) = strace::run(&["-e", &inject], command)?;
    Some(Outcome::of(&output))
}

#[test]
fn signals_ignored_at_start_stay_ignored() {
    let (_root, from, to) = root();
    let wanted = command(&[&"--via", &"sendfile", &from, &to]);
    let mut nohup = Command::new("sh");
    nohup.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]);
    nohup.arg(wanted.get_program()).args(wanted.get_args());
    let place = ("sendfile", &[][..], 2);
    let Some(ended) = signalled(&nohup, &to, None, place, "SIGHUP") else { return };
    ended.expect_success();
    assert!(fs::read(&to).unwrap() == pattern(SIZE));
}

#[test]
fn sigkill_during_rename_leaves_the_old_or_the_new_file() {
    let (root, from, to) = root();
    let old = b"what was there before".to_vec();
    for (call, nth, existing) in
        [("linkat", 1, false), ("linkat", 1, true), ("linkat", 2, true), ("renameat", 1, true)]
    {
        fs::write(&to, &old).unwrap();
        if !existing {
            fs::remove_file(&to).unwrap();
        }
        let command = command(&[&from, &to]);
        let kept = existing.then_some(&old);
        let place = (call, &[][..], nth);
        let Some(ended) = signalled(&command, &to, kept, place, "SIGKILL") else { return };
        assert_eq!(ended.status.signal(), Some(9), "{call}");
        if let Ok(content) = fs::read(&to) {
            assert!(content == pattern(SIZE) || (existing && content == old), "{call}");
        } else {
            assert!(!existing, "{call}: the old one is gone");
        }
        for name in names(root.path()) {
            // A complete file may keep its temporary name if SIGKILL arrives between link and
            // rename.
            let whole = name.starts_with(".karez.") && {
                let path = root.path().join(&name);
                let whole = fs::read(&path).unwrap() == pattern(SIZE);
                fs::remove_file(path).unwrap();
                whole
            };
            assert!(["from", "to"].contains(&&*name) || whole, "{call}: {name}");
        }
    }
}

#[test]
fn temporary_name_is_used_without_o_tmpfile_and_removed() {
    let (root, from, to) = root();
    let command = command(&[&"--via", &"sendfile", &from, &to]);
    let Some((_, calls)) = strace::run(&[], &command) else { return };
    let when = ordinal(&calls, "openat", &["O_TMPFILE"], 1);
    let fault = format!("inject=openat:error=EOPNOTSUPP:when={when}");
    let expect_clean = || {
        assert_eq!(names(root.path()), ["from", "to"]);
    };
    for existing in [false, true] {
        if !existing {
            fs::remove_file(&to).unwrap();
        }
        let (output, calls) = strace::run(&["-e", &fault], &command).unwrap();
        Outcome::of(&output).expect_success();
        assert_eq!(strace::count(&calls, "linkat"), 0);
        assert!(calls.iter().any(|call| call.contains("O_EXCL") && call.contains(".karez.")));
        assert!(fs::read(&to).unwrap() == pattern(SIZE));
        expect_clean();
    }
    fs::write(&to, "old").unwrap();
    for (signal, number) in [("SIGTERM", 15), ("SIGINT", 2)] {
        let inject = format!("inject=sendfile:signal={signal}:when=2");
        let (output, _) = strace::run(&["-e", &fault, "-e", &inject], &command).unwrap();
        let ended = Outcome::of(&output);
        assert_eq!(ended.status.signal(), Some(number), "{ended:?}");
        assert_eq!(fs::read(&to).unwrap(), b"old");
        expect_clean();
    }
    let full = "inject=sendfile:error=ENOSPC:when=2";
    let (output, _) = strace::run(&["-e", &fault, "-e", full], &command).unwrap();
    Outcome::of(&output).expect_error(&["sendfile", "(os error 28)"]);
    expect_clean();
}

#[test]
fn interrupted_tree_has_complete_files_only() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    fs::create_dir(&from).unwrap();
    for number in 0..40_usize {
        fs::write(from.join(number.to_string()), pattern(100_000 + number)).unwrap();
    }
    let command = command(&[&"-r", &"--jobs", &"1", &"--via", &"copy", &from, &to]);
    for signal in ["SIGTERM", "SIGKILL"] {
        let place = ("pwrite64", &[][..], 50);
        let Some((_, calls)) = strace::run(&[], &command) else { return };
        fs::remove_dir_all(&to).unwrap();
        let when = ordinal(&calls, place.0, place.1, place.2);
        let inject = format!("inject=pwrite64:signal={signal}:when={when}");
        let (output, _) = strace::run(&["-e", &inject], &command).unwrap();
        assert!(output.status.signal().is_some(), "{output:?}");
        let copied = names(&to);
        assert!(!copied.is_empty() && copied.len() < 40, "{copied:?}");
        for name in copied {
            assert!(fs::read(to.join(&name)).unwrap() == fs::read(from.join(&name)).unwrap());
        }
        fs::remove_dir_all(&to).unwrap();
    }
}

#[test]
fn full_filesystem_is_reported_and_unchanged() {
    let kinds: [fn() -> Option<Image>; 2] = [
        || Image::mount_in_memory("tmpfs", "size=2m"),
        || Image::made_by(&["mkfs.ext4", "-q", "-m", "0"], 8),
    ];
    let (_root, from, _) = root();
    for image in kinds.into_iter().filter_map(|make| make()) {
        let before = names(&image.path);
        let to = image.join("to");
        for via in vias() {
            let outcome = copy(&[&"--via", &via.name(), &from, &to]);
            outcome.expect_error(&["to\"", "(os error 28)"]);
            assert_eq!(names(&image.path), before, "{via}");
            fs::write(&to, "old").unwrap();
            copy(&[&"--via", &via.name(), &from, &to]).expect_error(&["(os error 28)"]);
            assert_eq!(fs::read(&to).unwrap(), b"old", "{via}");
            fs::remove_file(&to).unwrap();
        }
        // Smaller files that fit are still copied.
        let tree = tempfile::tempdir().unwrap();
        fs::write(tree.path().join("large"), pattern(SIZE)).unwrap();
        for number in 0..20_usize {
            fs::write(tree.path().join(number.to_string()), pattern(2000)).unwrap();
        }
        // With one job: a partial copy needs space, too.
        let outcome = copy(&[&"-r", &"--jobs", &"1", &tree.path(), &image.join("tree")]);
        let outcome = outcome.expect_error(&["large\"", "(os error 28)"]);
        assert_eq!((outcome.count("files"), outcome.count("failed")), (20, 1));
        let copied = names(&image.join("tree"));
        assert!(copied.len() == 20 && !copied.contains(&"large".to_owned()), "{copied:?}");
    }
}

#[test]
fn file_size_limit_is_reported_and_leaves_no_file() {
    let (root, from, to) = root();
    for via in vias().filter(|&via| via != Via::Reflink) {
        let wanted = command(&[&"--via", &via.name(), &from, &to]);
        let mut limited = Command::new("sh");
        // In blocks of 512 bytes.
        limited.args(["-c", "ulimit -f 4000; exec \"$@\"", "sh"]);
        limited.arg(wanted.get_program()).args(wanted.get_args());
        let outcome = Outcome::of(&limited.output().unwrap());
        if outcome.vias() == ["reflink"] {
            println!("skipped: what is shared is not limited");
            continue;
        }
        let outcome = outcome.expect_error(&["to\"", "at byte 2048000", "(os error 27)"]);
        assert_eq!(outcome.count("bytes"), 2_048_000, "{via}");
        assert_eq!(names(root.path()), ["from"], "{via}");
    }
}

/// A copy that is paused in the middle until [`resume`](Self::resume).
pub struct PausedCopy {
    strace: Child,
    process: Pid,
    _directory: tempfile::TempDir,
}

impl PausedCopy {
    /// Pauses at the `nth` call of this name, which an earlier run has been seen to make.
    pub fn at(command: &Command, call: &str, when: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("trace");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let mut strace = Command::new("strace");
        strace.args(["-f", "-o"]).arg(&pipe);
        strace.args(["-e", &format!("trace={call}")]);
        strace.args(["-e", &format!("inject={call}:signal=SIGSTOP:when={when}")]);
        strace.arg(command.get_program()).args(command.get_args());
        strace.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let strace = strace.spawn().unwrap();
        let mut trace = BufReader::new(TimedReader(File::open(&pipe).unwrap()));
        let mut line = String::new();
        while !line.contains("stopped by SIGSTOP") {
            line.clear();
            assert!(trace.read_line(&mut line).unwrap() > 0, "it ended before it stopped");
        }
        let number = line.split_whitespace().next().unwrap().parse().unwrap();
        // The pipe is drained, so that strace does not block.
        std::thread::spawn(move || trace.read_to_string(&mut String::new()));
        Self { strace, process: Pid::from_raw(number).unwrap(), _directory: directory }
    }

    pub fn resume(self) -> Outcome {
        kill_process(self.process, Signal::CONT).unwrap();
        Outcome::of(&self.strace.wait_with_output().unwrap())
    }
}

#[test]
fn truncation_during_copy_is_an_error_and_growth_is_not() {
    let (root, from, to) = root();
    for (via, call, words) in MOVED_BY {
        let command = command(&[&"--via", &via, &from, &to]);
        let Some((_, calls)) = strace::run(&[], &command) else { return };
        fs::remove_file(&to).unwrap();
        let when = ordinal(&calls, call, words, 2);

        let halted = PausedCopy::at(&command, call, when);
        let mut file = File::options().append(true).open(&from).unwrap();
        file.write_all(b"more than before").unwrap();
        assert!(!to.exists(), "{via}");
        let outcome = halted.resume().expect_success();
        assert_eq!(outcome.count("bytes"), SIZE as u64, "{via}");
        assert!(fs::read(&to).unwrap() == pattern(SIZE), "{via}");
        fs::remove_file(&to).unwrap();

        let halted = PausedCopy::at(&command, call, when);
        file.set_len(20 << 20).unwrap();
        let words = [from.to_str().unwrap(), "was truncated", "20971520"];
        halted.resume().expect_error(&words);
        assert_eq!(names(root.path()), ["from"], "{via}");

        file.set_len(0).unwrap();
        file.rewind().unwrap();
        file.write_all(&pattern(SIZE)).unwrap();
    }
}

#[test]
fn file_unlinked_during_copy_is_copied() {
    let (root, from, to) = root();
    let command = command(&[&"--via", &"sendfile", &from, &to]);
    let Some((_, calls)) = strace::run(&[], &command) else { return };
    fs::remove_file(&to).unwrap();
    let halted = PausedCopy::at(&command, "sendfile", ordinal(&calls, "sendfile", &[], 2));
    fs::remove_file(&from).unwrap();
    halted.resume().expect_success();
    assert!(fs::read(&to).unwrap() == pattern(SIZE));
    // Another process creates the name meanwhile: the copy replaces it, or with -n keeps it.
    for (flag, stays) in [("--quiet", false), ("--no-clobber", true)] {
        let command = crate::copy::command(&[&flag, &"--via", &"sendfile", &to, &from]);
        let halted = PausedCopy::at(&command, "sendfile", ordinal(&calls, "sendfile", &[], 2));
        fs::write(&from, "another").unwrap();
        let outcome = halted.resume().expect_success();
        assert_eq!(outcome.count("skipped"), u64::from(stays), "{flag}");
        assert_eq!(fs::read(&from).unwrap() == b"another", stays, "{flag}");
        fs::remove_file(&from).unwrap();
    }
    assert_eq!(names(root.path()), ["to"]);
}
