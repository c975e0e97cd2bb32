//! `karez copy --in-place`: overwrites an existing file that cannot be replaced.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use crate::copy::{Outcome, command, copy, names, vias};
use crate::files::pattern;
use crate::server::KAREZ;
use crate::strace::{self, ordinal};

const SIZE: usize = (9 << 20) + 7;

#[test]
fn existing_file_is_overwritten_in_place() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    for via in vias() {
        for size in [0, 5, SIZE] {
            fs::write(at("from"), pattern(size)).unwrap();
            fs::write(at("to"), pattern(100_000)).unwrap();
            fs::set_permissions(at("to"), fs::Permissions::from_mode(0o640)).unwrap();
            fs::hard_link(at("to"), at("other name")).unwrap();
            let before = fs::metadata(at("to")).unwrap();
            copy(&[&"--in-place", &"--via", &via.name(), &at("from"), &at("to")]).expect_success();
            let after = fs::metadata(at("to")).unwrap();
            assert_eq!((after.ino(), after.mode()), (before.ino(), before.mode()), "{via}");
            assert!(fs::read(at("other name")).unwrap() == pattern(size), "{via}, {size}");
            assert_eq!(names(root.path()), ["from", "other name", "to"]);
            fs::remove_file(at("other name")).unwrap();
        }
    }
    // A missing file is created, and the content of a pipe is written into it, too.
    copy(&[&"--in-place", &at("from"), &at("new")]).expect_success();
    assert!(fs::read(at("new")).unwrap() == pattern(SIZE));
    let before = fs::metadata(at("new")).unwrap().ino();
    let mut piped = command(&[&"--in-place", &"-", &at("new")]);
    piped.stdin(Stdio::from(fs::File::open("/dev/null").unwrap()));
    Outcome::of(&piped.output().unwrap()).expect_success();
    assert_eq!(
        (fs::metadata(at("new")).unwrap().ino(), fs::read(at("new")).unwrap().len()),
        (before, 0)
    );
    let skipped = copy(&[&"-n", &"--in-place", &at("from"), &at("new")]).expect_success();
    assert_eq!(skipped.count("skipped"), 1);
}

#[test]
fn holes_are_preserved_in_place() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::write(at("from"), "data").unwrap();
    fs::File::options().write(true).open(at("from")).unwrap().set_len(8 << 20).unwrap();
    fs::write(at("to"), pattern(8 << 20)).unwrap();
    copy(&[&"--in-place", &at("from"), &at("to")]).expect_success();
    assert!(fs::read(at("to")).unwrap() == fs::read(at("from")).unwrap());
    let [from, to] = ["from", "to"].map(|name| fs::metadata(at(name)).unwrap());
    assert!(to.blocks() < 1000 || from.blocks() > 1000, "{}", to.blocks());
}

#[test]
fn trees_are_written_in_place_without_following_links() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    for name in ["from", "to"] {
        fs::create_dir_all(at(name).join("below")).unwrap();
        for file in ["file", "below/file", "link"] {
            fs::write(at(name).join(file), name).unwrap();
        }
    }
    fs::hard_link(at("from/file"), at("from/file too")).unwrap();
    fs::remove_file(at("to/link")).unwrap();
    fs::write(at("precious"), "precious").unwrap();
    symlink("../precious", at("to/link")).unwrap();
    let inode = |name: &str| fs::symlink_metadata(at(name)).unwrap().ino();
    let before = ["to/file", "to/below/file"].map(inode);
    for flag in ["-r", "-a", "-a"] {
        copy(&[&flag, &"--in-place", &at("from/."), &at("to")]).expect_success();
        assert_eq!(["to/file", "to/below/file"].map(inode), before, "{flag}");
        for name in ["to/file", "to/below/file", "to/link"] {
            assert_eq!(fs::read(at(name)).unwrap(), b"from", "{flag} {name}");
        }
    }
    assert_eq!(fs::read(at("precious")).unwrap(), b"precious");
}

#[test]
fn same_file_is_not_truncated() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::write(at("file"), "data").unwrap();
    fs::hard_link(at("file"), at("hard")).unwrap();
    symlink("file", at("soft")).unwrap();
    for (from, to) in [("file", "file"), ("file", "hard"), ("soft", "file"), ("file", "soft")] {
        copy(&[&"--in-place", &at(from), &at(to)]).expect_error(&["are the same file"]);
    }
    assert_eq!(fs::read(at("file")).unwrap(), b"data");
}

#[test]
fn two_sources_are_not_written_to_one_file() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    for directory in ["from", "to"] {
        fs::create_dir(at(directory)).unwrap();
    }
    fs::write(at("from/a"), "a").unwrap();
    fs::write(at("from/b"), "b").unwrap();
    for tree in [true, false] {
        for jobs in ["1", "4"] {
            fs::write(at("to/a"), "old").unwrap();
            fs::hard_link(at("to/a"), at("to/b")).unwrap();
            let outcome = if tree {
                copy(&[&"-r", &"--in-place", &"--jobs", &jobs, &at("from/."), &at("to")])
            } else {
                let (a, b) = (at("from/a"), at("from/b"));
                copy(&[&"--in-place", &"--jobs", &jobs, &a, &b, &at("to")])
            };
            let outcome = outcome.expect_error(&["will not overwrite just-created"]);
            assert_eq!((outcome.count("files"), outcome.count("failed")), (1, 1));
            let content = fs::read(at("to/a")).unwrap();
            let lost = if outcome.stderr.contains("from/a") || outcome.stderr.contains("from/./a") {
                b"a"
            } else {
                b"b"
            };
            assert_ne!(content, lost);
            for name in ["to/a", "to/b"] {
                fs::remove_file(at(name)).unwrap();
            }
        }
    }
}

#[test]
fn last_tree_wins_in_place() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    for name in ["base", "over", "out"] {
        fs::create_dir(at(name)).unwrap();
        fs::write(at(name).join("file"), pattern(if name == "base" { SIZE } else { 10 })).unwrap();
    }
    fs::hard_link(at("out/file"), at("other name")).unwrap();
    for jobs in ["1", "8"] {
        copy(&[&"-r", &"--in-place", &"--jobs", &jobs, &at("base/."), &at("over/."), &at("out")])
            .expect_success();
        assert!(fs::read(at("other name")).unwrap() == pattern(10));
    }
}

/// Runs a command as a user that does not own the directory.
fn as_other(wanted: &Command) -> Option<Outcome> {
    let mut other = Command::new("setpriv");
    other.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    match other.arg(wanted.get_program()).args(wanted.get_args()).output() {
        Ok(output) if !output.stdout.is_empty() => Some(Outcome::of(&output)),
        result => {
            println!("skipped: setpriv: {result:?}");
            None
        }
    }
}

#[test]
fn in_place_is_suggested_for_read_only_directories() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can be another user");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(at("from"), "new").unwrap();
    fs::write(at("to"), "old and longer").unwrap();
    fs::set_permissions(at("to"), fs::Permissions::from_mode(0o666)).unwrap();
    let (from, to) = (at("from"), at("to"));
    let Some(outcome) = as_other(&command(&[&from, &to])) else { return };
    outcome.expect_error(&["openat", "to\"", "(os error 13)", "; --in-place writes into"]);
    assert_eq!(fs::read(&to).unwrap(), b"old and longer");
    as_other(&command(&[&"--in-place", &from, &to])).unwrap().expect_success();
    assert_eq!(fs::read(&to).unwrap(), b"new");
    // A missing target cannot be overwritten.
    let outcome = as_other(&command(&[&from, &at("nothing")])).unwrap();
    assert!(!outcome.expect_error(&["(os error 13)"]).stderr.contains("--in-place"));
}

#[test]
fn in_place_is_suggested_for_mount_points() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    for (name, content) in [("from", "new"), ("to", "below"), ("mounted", "old")] {
        fs::write(at(name), content).unwrap();
    }
    let run = |flag: &str| {
        let script = "mount --bind mounted to && exec \"$0\" copy --json \"$@\"";
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "sh", "-c", script, KAREZ]).current_dir(root.path());
        unshare.args([flag, "from", "to"]).output()
    };
    let output = match run("--via=auto") {
        Ok(output) if !output.stdout.is_empty() => output,
        other => {
            println!("skipped: a mount point: {other:?}");
            return;
        }
    };
    Outcome::of(&output).expect_error(&["\"to\"", "(os error 16)", "; --in-place writes into"]);
    assert_eq!(names(root.path()), ["from", "mounted", "to"]);
    assert_eq!(fs::read(at("mounted")).unwrap(), b"old");
    Outcome::of(&run("--in-place").unwrap()).expect_success();
    assert_eq!(fs::read(at("mounted")).unwrap(), b"new");
    assert_eq!(fs::read(at("to")).unwrap(), b"below");
}

#[test]
fn interrupted_in_place_copy_reports_an_incomplete_file() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::write(at("from"), pattern(SIZE)).unwrap();
    fs::write(at("to"), "old").unwrap();
    let command = command(&[&"--in-place", &"--via", &"sendfile", &at("from"), &at("to")]);
    let Some((_, calls)) = strace::run(&[], &command) else { return };
    let when = ordinal(&calls, "sendfile", &[], 2);
    for (fault, errno) in [("signal=SIGINT", ""), ("error=ENOSPC", "(os error 28)")] {
        fs::write(at("to"), "old").unwrap();
        let inject = format!("inject=sendfile:{fault}:when={when}");
        let (output, _) = strace::run(&["-e", &inject], &command).unwrap();
        if errno.is_empty() {
            assert_eq!(output.status.signal(), Some(2), "{output:?}");
        } else {
            assert_eq!(output.status.code(), Some(1), "{output:?}");
        }
        let outcome = Outcome::of(&output);
        assert!(outcome.stderr.contains(errno), "{outcome:?}");
        assert!(
            outcome.stderr.contains("to\" was written in place and is incomplete"),
            "{outcome:?}"
        );
        assert_eq!(outcome.count("failed"), 1);
        let part = fs::read(at("to")).unwrap();
        assert!(part.len() < SIZE && part == pattern(SIZE)[..part.len()]);
    }
}

#[test]
fn unreadable_source_does_not_change_the_target() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::write(at("to"), "old").unwrap();
    copy(&[&"--in-place", &at("none"), &at("to")]).expect_error(&["(os error 2)"]);
    assert_eq!(fs::read(at("to")).unwrap(), b"old");
}
