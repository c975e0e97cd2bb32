//! Rare cases of `karez copy`: sources such as `.` and `..`, hard links of special files, paths
//! longer than PATH_MAX, append-only directories.

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, mkdirat, openat, statat, symlinkat};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::copy::{Outcome, command, copy, names};
use crate::copy_interrupted::PausedCopy;
use crate::files::pattern;
use crate::server::KAREZ;
use crate::strace::{self, ordinal};

/// Spellings of a source relative to `w/x`, and the names in the target directory after the copy.
const SPELLINGS: [(&str, &[&str]); 10] = [
    (".", &["f", "y"]),
    ("./", &["f", "y"]),
    ("..", &["g", "x"]),
    ("../", &["g", "x"]),
    ("y/..", &["f", "y"]),
    ("y/../", &["f", "y"]),
    ("y/.", &["deep"]),
    ("y/./", &["deep"]),
    ("y//", &["y"]),
    ("../x", &["x"]),
];

#[test]
fn source_without_a_name_copies_its_content() {
    let root = tempfile::tempdir().unwrap();
    let (here, into) = (root.path().join("w/x"), root.path().join("into"));
    fs::create_dir_all(here.join("y")).unwrap();
    for name in ["f", "y/deep", "../g"] {
        fs::write(here.join(name), name).unwrap();
    }
    for (source, expected) in SPELLINGS {
        let run = || {
            let mut command = command(&[&"-r", &source, &into]);
            Outcome::of(&command.current_dir(&here).output().unwrap()).expect_success();
            let copied = names(&into);
            fs::remove_dir_all(&into).unwrap();
            copied
        };
        fs::create_dir(&into).unwrap();
        assert_eq!(run(), expected, "{source}");
        // Into a missing target, each is copied under the name that is given.
        assert_eq!(run(), names(&here.join(source)), "{source}");
    }
    // Without -r it is rejected like any other directory.
    let mut command = command(&[&"..", &into]);
    let output = command.current_dir(&here).output().unwrap();
    Outcome::of(&output).expect_error(&["directories are copied with -r only"]);
}

#[test]
fn root_directory_is_copied_without_the_copy() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::create_dir_all(at("out")).unwrap();
    fs::create_dir_all(at("a/b")).unwrap();
    fs::write(at("a/b/file"), "file").unwrap();
    fs::copy(KAREZ, at("karez")).unwrap();
    let libraries = Command::new("ldd").arg(KAREZ).output();
    let libraries = libraries.map(|ldd| String::from_utf8(ldd.stdout).unwrap());
    for library in libraries.iter().flat_map(|list| list.split_whitespace()) {
        if let Some(below) = library.strip_prefix('/') {
            let copied = at(below);
            fs::create_dir_all(copied.parent().unwrap()).unwrap();
            fs::copy(library, copied).unwrap();
        }
    }
    let mut command = Command::new("chroot");
    command.arg(root.path()).args(["/karez", "copy", "--json", "-r", "/", "/out"]);
    let output = match command.output() {
        Ok(output) if !output.stdout.is_empty() => output,
        other => {
            println!("skipped: chroot: {other:?}");
            return;
        }
    };
    Outcome::of(&output).expect_error(&["\"/out\" is the directory that the copy is written to"]);
    assert_eq!(fs::read(at("out/a/b/file")).unwrap(), b"file");
    assert!(!at("out/out").exists());
}

#[test]
fn archive_keeps_hard_links_of_symlinks_and_special_files() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::create_dir_all(at("from/below")).unwrap();
    symlink("somewhere", at("from/link")).unwrap();
    let mut kinds = vec!["link", "fifo", "socket"];
    assert!(Command::new("mkfifo").arg(at("from/fifo")).status().unwrap().success());
    UnixListener::bind(at("from/socket")).unwrap();
    let made = Command::new("mknod").arg(at("from/device")).args(["c", "1", "3"]).output().unwrap();
    if made.status.success() {
        kinds.push("device");
    } else {
        println!("skipped: devices: {}", String::from_utf8_lossy(&made.stderr));
    }
    for kind in &kinds {
        fs::hard_link(at("from").join(kind), at("from/below").join(kind)).unwrap();
    }
    let count = kinds.len() as u64;
    // Twice: the second copy replaces each link by a link.
    for jobs in ["1", "8"] {
        let outcome = copy(&[&"-a", &"--jobs", &jobs, &at("from/."), &at("to")]).expect_success();
        let made = outcome.count("symlinks") + outcome.count("special_files");
        assert_eq!((made, outcome.count("hard_links")), (count, count), "{outcome:?}");
        for kind in &kinds {
            let one = fs::symlink_metadata(at("to").join(kind)).unwrap();
            let other = fs::symlink_metadata(at("to/below").join(kind)).unwrap();
            assert_eq!((one.ino(), one.nlink()), (other.ino(), 2), "{kind}");
            let original = fs::symlink_metadata(at("from").join(kind)).unwrap();
            assert_eq!((one.mode(), one.rdev()), (original.mode(), original.rdev()), "{kind}");
        }
    }
    let outcome = copy(&[&"-r", &at("from/."), &at("apart")]).expect_success();
    assert_eq!(outcome.count("hard_links"), 0);
    assert_eq!(fs::symlink_metadata(at("apart/fifo")).unwrap().nlink(), 1);
}

/// Opens the directory `depth` levels down, through names of 200 bytes, and creates missing ones.
fn descend(root: &Path, depth: usize) -> OwnedFd {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut here = openat(CWD, root, flags, Mode::empty()).unwrap();
    for _ in 0..depth {
        let name = "d".repeat(200);
        let _exists = mkdirat(&here, &*name, Mode::from_raw_mode(0o755));
        here = openat(&here, &*name, flags, Mode::empty()).unwrap();
    }
    here
}

#[test]
fn hard_links_are_kept_beyond_path_max() {
    const DEPTH: usize = 40;
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::create_dir(at("from")).unwrap();
    let deep = descend(&at("from"), DEPTH);
    let flags = OFlags::CREATE | OFlags::WRONLY;
    let file = openat(&deep, "one", flags, Mode::from_raw_mode(0o600)).unwrap();
    rustix::io::write(&file, b"bottom").unwrap();
    symlinkat("somewhere", &deep, "link").unwrap();
    for (from, to) in [("one", "two"), ("link", "link too")] {
        linkat(&deep, from, &deep, to, AtFlags::empty()).unwrap();
    }
    for jobs in ["1", "4"] {
        let outcome = copy(&[&"-a", &"--jobs", &jobs, &at("from"), &at(jobs)]).expect_success();
        assert_eq!((outcome.count("files"), outcome.count("symlinks")), (1, 1), "{outcome:?}");
        assert_eq!(outcome.count("hard_links"), 2, "{outcome:?}");
        let copied = descend(&at(jobs), DEPTH);
        for (one, other) in [("one", "two"), ("link", "link too")] {
            let look = |name: &str| statat(&copied, name, AtFlags::SYMLINK_NOFOLLOW).unwrap();
            assert_eq!((look(one).st_ino, look(one).st_nlink), (look(other).st_ino, 2));
        }
    }
}

/// An append-only directory (chattr +a): names can be added but not removed, until this is dropped.
struct AppendOnly(PathBuf);

impl AppendOnly {
    fn set(path: PathBuf) -> Option<Self> {
        let set = Command::new("chattr").arg("+a").arg(&path).output();
        match set {
            Ok(output) if output.status.success() => Some(Self(path)),
            other => {
                println!("skipped: chattr: {other:?}");
                None
            }
        }
    }
}

impl Drop for AppendOnly {
    fn drop(&mut self) {
        let _set = Command::new("chattr").arg("-a").arg(&self.0).status();
    }
}

#[test]
fn append_only_directory_has_no_temporary_names() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::create_dir_all(at("from")).unwrap();
    fs::create_dir_all(at("to")).unwrap();
    for name in ["from/new", "from/old", "to/old"] {
        fs::write(at(name), name).unwrap();
    }
    fs::hard_link(at("from/new"), at("from/new too")).unwrap();
    symlink("somewhere", at("from/link")).unwrap();
    fs::hard_link(at("from/link"), at("from/link too")).unwrap();
    assert!(Command::new("mkfifo").arg(at("from/fifo")).status().unwrap().success());
    let Some(_append_only) = AppendOnly::set(at("to")) else { return };
    let all = ["fifo", "link", "link too", "new", "new too", "old"];
    for flag in ["-r", "-a"] {
        // The second copy finds every name in place.
        for name in ["fifo", "link", "link too", "new", "new too"] {
            let outcome = copy(&[&flag, &at("from").join(name), &at("to")]);
            if flag == "-r" {
                outcome.expect_success();
            } else {
                outcome.expect_error(&[&format!("to/{name}\""), "append-only"]);
            }
        }
        let outcome = copy(&[&flag, &at("from/old"), &at("to")]);
        outcome.expect_error(&["to/old\" cannot be replaced", "append-only"]);
        assert_eq!(names(&at("to")), all, "{flag}");
    }
    assert_eq!(fs::read(at("to/old")).unwrap(), b"to/old");
}

#[test]
fn archive_links_into_an_append_only_directory() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::create_dir_all(at("to")).unwrap();
    fs::write(at("new"), "new").unwrap();
    fs::hard_link(at("new"), at("new too")).unwrap();
    symlink("somewhere", at("link")).unwrap();
    let Some(_append_only) = AppendOnly::set(at("to")) else { return };
    let outcome = copy(&[&"-a", &at("new"), &at("new too"), &at("link"), &at("to")]);
    let outcome = outcome.expect_success();
    assert_eq!((outcome.count("files"), outcome.count("hard_links")), (1, 1));
    assert_eq!(names(&at("to")), ["link", "new", "new too"]);
}

#[test]
fn files_created_during_the_copy_are_not_replaced() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::create_dir(at("from")).unwrap();
    fs::write(at("from/file"), pattern(3 << 20)).unwrap();
    for (flag, skipped) in [("-r", 0), ("-rn", 1)] {
        let command =
            command(&[&flag, &"--jobs", &"1", &"--via", &"sendfile", &at("from"), &at("to")]);
        let Some((_, calls)) = strace::run(&[], &command) else { return };
        fs::remove_dir_all(at("to")).unwrap();
        let halted = PausedCopy::at(&command, "sendfile", ordinal(&calls, "sendfile", &[], 2));
        fs::write(at("to/file"), "of another").unwrap();
        let outcome = halted.resume();
        if skipped == 0 {
            outcome.expect_error(&["to/file\" was made by another process"]);
        } else {
            assert_eq!(outcome.expect_success().count("skipped"), skipped);
        }
        assert_eq!(names(&at("to")), ["file"]);
        assert_eq!(fs::read(at("to/file")).unwrap(), b"of another");
        fs::remove_dir_all(at("to")).unwrap();
    }
}
