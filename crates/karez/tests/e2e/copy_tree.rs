//! `karez copy -r`: trees with every kind of entry, compared name by name and byte by byte.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::copy::{Outcome, command, copy, names, vias};
use crate::files::pattern;

/// Asserts that both trees have the same names, kinds and bytes. Returns the number of entries.
fn compare(one: &Path, other: &Path) -> usize {
    let listed = |path: &Path| {
        let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = entries.collect();
        names.sort();
        names
    };
    let names = listed(one);
    assert_eq!(names, listed(other), "{one:?}");
    let mut count = names.len();
    for name in names {
        let (one, other) = (one.join(&name), other.join(&name));
        let kinds = [&one, &other].map(|path| fs::symlink_metadata(path).unwrap());
        assert_eq!(kinds[0].file_type(), kinds[1].file_type(), "{one:?}");
        if kinds[0].is_dir() {
            count += compare(&one, &other);
        } else if kinds[0].is_symlink() {
            assert_eq!(fs::read_link(&one).unwrap(), fs::read_link(&other).unwrap());
        } else if kinds[0].is_file() {
            assert!(fs::read(&one).unwrap() == fs::read(&other).unwrap(), "{one:?} differs");
        } else {
            assert_eq!(kinds[0].rdev(), kinds[1].rdev(), "{one:?}");
        }
    }
    count
}

/// Creates four hundred files of all sizes, in directories up to five deep, and a few special ones.
fn plant(root: &Path) -> PathBuf {
    let tree = root.join("tree");
    for number in 0..400_usize {
        let mut directory = tree.clone();
        for level in 0..number % 6 {
            directory.push(format!("{}", number / 6 % (level + 2)));
        }
        fs::create_dir_all(&directory).unwrap();
        let length = number * number * 37 % 150_000 + number % 3;
        fs::write(directory.join(format!("file {number}")), pattern(length)).unwrap();
    }
    fs::create_dir(tree.join("empty")).unwrap();
    for name in [&b"\xff\xfe"[..], b"new\nline", b".hidden", b"-r", &[b'n'; 255]] {
        fs::write(tree.join(OsStr::from_bytes(name)), name).unwrap();
    }
    symlink("file 0", tree.join("link")).unwrap();
    symlink("/nonexistent/nowhere", tree.join("dangling")).unwrap();
    symlink("..", tree.join("empty/up")).unwrap();
    assert!(Command::new("mkfifo").arg(tree.join("fifo")).status().unwrap().success());
    UnixListener::bind(tree.join("socket")).unwrap();
    tree
}

#[test]
fn any_number_of_jobs_copies_a_tree() {
    let root = tempfile::tempdir().unwrap();
    let tree = plant(root.path());
    let device = tree.join("null");
    let made = Command::new("mknod").arg(&device).args(["c", "1", "3"]).output().unwrap();
    if !made.status.success() {
        println!("skipped: devices: {}", String::from_utf8_lossy(&made.stderr));
    }
    for jobs in ["1", "2", "8", "256"] {
        for archive in ["-r", "-a"] {
            let to = root.path().join("to");
            let outcome = copy(&[&archive, &"--jobs", &jobs, &tree, &to]).expect_success();
            let count = compare(&tree, &to) as u64;
            assert!(to.join("fifo").symlink_metadata().unwrap().file_type().is_fifo());
            let kinds = ["files", "directories", "symlinks", "special_files"];
            let sum: u64 = kinds.iter().map(|kind| outcome.count(kind)).sum();
            assert_eq!(sum, count + 1, "with the tree itself: {outcome:?}");
            assert_eq!((outcome.count("files"), outcome.count("symlinks")), (405, 3));
            fs::remove_dir_all(&to).unwrap();
        }
    }
}

#[test]
fn every_via_copies_and_replaces_a_tree() {
    let root = tempfile::tempdir().unwrap();
    let tree = plant(root.path());
    let to = root.path().join("to");
    for via in vias() {
        // The first run creates the tree, the next ones replace it.
        copy(&[&"-r", &"--via", &via.name(), &tree.join("."), &to]).expect_success();
        compare(&tree, &to);
    }
}

#[test]
fn trees_are_merged_or_copied_by_content() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::create_dir_all(at("a/below")).unwrap();
    fs::write(at("a/below/one"), "one").unwrap();
    fs::create_dir_all(at("into/a/below")).unwrap();
    fs::write(at("into/a/below/two"), "two").unwrap();
    copy(&[&"-r", &at("a"), &at("into")]).expect_success();
    assert_eq!(names(&at("into/a/below")), ["one", "two"]);
    copy(&[&"-r", &at("a/"), &at("new/")]).expect_success();
    assert_eq!(names(&at("new")), ["below"]);
    copy(&[&"-r", &at("a/."), &at("into")]).expect_success();
    assert_eq!(names(&at("into")), ["a", "below"]);
    copy(&[&"-r", &at("a/below/one"), &at("a/below"), &at("into")]).expect_success();
    assert_eq!(names(&at("into")), ["a", "below", "one"]);
    symlink("a", at("way")).unwrap();
    copy(&[&"-r", &at("way"), &at("copied")]).expect_success();
    assert_eq!(fs::read_link(at("copied")).unwrap(), Path::new("a"));
    copy(&[&"-r", &at("way/"), &at("through")]).expect_success();
    compare(&at("a"), &at("through"));
}

#[test]
fn one_failure_is_reported_and_the_rest_is_copied() {
    let root = tempfile::tempdir().unwrap();
    let tree = plant(root.path());
    let to = root.path().join("to");
    fs::create_dir_all(to.join("link")).unwrap();
    fs::create_dir_all(to.join("file 0")).unwrap();
    fs::write(to.join("empty"), "a file").unwrap();
    let outcome = copy(&[&"-r", &tree.join("."), &to]);
    assert_eq!(outcome.status.code(), Some(1));
    assert_eq!((outcome.count("failed"), outcome.count("files")), (3, 404), "{outcome:?}");
    assert_eq!(outcome.stderr.lines().count(), 3);
    for name in
        ["to/link\" is a directory", "to/file 0\" is a directory", "to/empty\" is not a dir"]
    {
        assert!(outcome.stderr.contains(name), "{}", outcome.stderr);
    }
    for name in ["link", "file 0", "empty"] {
        let path = tree.join(name);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        let path = to.join(name);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
    }
    compare(&tree, &to);
}

#[test]
fn unreadable_files_are_reported_and_the_rest_is_copied() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can switch users");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::create_dir_all(at("from/closed")).unwrap();
    fs::create_dir_all(at("from/open")).unwrap();
    fs::create_dir(at("to")).unwrap();
    for name in ["from/secret", "from/closed/file", "from/open/file", "from/file"] {
        fs::write(at(name), name).unwrap();
    }
    let set_mode = |name: &str, mode| {
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    set_mode("from/secret", 0o600);
    set_mode("from/closed", 0o700);
    set_mode("to", 0o777);
    set_mode("", 0o755);
    for jobs in ["1", "4"] {
        let wanted = command(&[&"-r", &"--jobs", &jobs, &at("from/."), &at("to")]);
        let mut unprivileged = Command::new("setpriv");
        unprivileged.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        let output = unprivileged.arg(wanted.get_program()).args(wanted.get_args()).output();
        let output = match output {
            Ok(output) if !output.stdout.is_empty() => output,
            other => {
                println!("skipped: setpriv: {other:?}");
                return;
            }
        };
        let outcome = Outcome::of(&output);
        assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
        assert_eq!((outcome.count("files"), outcome.count("failed")), (2, 2), "{outcome:?}");
        for name in ["from/./secret", "from/./closed"] {
            let path = at(name).display().to_string();
            let is_it = |line: &&str| line.contains(&path) && line.contains("(os error 13)");
            assert_eq!(outcome.stderr.lines().filter(is_it).count(), 1, "{}", outcome.stderr);
        }
        assert_eq!(names(&at("to")), ["file", "open"]);
        assert_eq!(names(&at("to/open")), ["file"]);
        fs::remove_dir_all(at("to/open")).unwrap();
        fs::remove_file(at("to/file")).unwrap();
    }
}

#[test]
fn link_at_the_destination_is_not_followed() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::create_dir_all(at("from/below")).unwrap();
    fs::write(at("from/file"), "new").unwrap();
    fs::write(at("from/below/file"), "new").unwrap();
    fs::create_dir_all(at("elsewhere")).unwrap();
    fs::write(at("elsewhere/file"), "precious").unwrap();
    fs::create_dir_all(at("to")).unwrap();
    symlink("../elsewhere/file", at("to/file")).unwrap();
    symlink("../elsewhere", at("to/below")).unwrap();
    let outcome = copy(&[&"-r", &at("from/."), &at("to")]);
    outcome.expect_error(&["to/below\" is not a directory"]);
    assert_eq!(fs::read(at("elsewhere/file")).unwrap(), b"precious");
    assert!(at("to/file").symlink_metadata().unwrap().is_file());
}

#[test]
fn archive_keeps_hard_links() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::create_dir_all(at("from/below")).unwrap();
    for number in 0..50 {
        fs::write(at(&format!("from/{number}")), number.to_string()).unwrap();
        fs::hard_link(at(&format!("from/{number}")), at(&format!("from/below/{number}"))).unwrap();
    }
    // Twice: the second copy replaces each link by a link.
    for _ in 0..2 {
        let outcome = copy(&[&"-a", &"--jobs", &"8", &at("from/."), &at("to")]).expect_success();
        assert_eq!((outcome.count("files"), outcome.count("hard_links")), (50, 50));
        compare(&at("from"), &at("to"));
        for number in 0..50 {
            let one = fs::metadata(at(&format!("to/{number}"))).unwrap();
            let other = fs::metadata(at(&format!("to/below/{number}"))).unwrap();
            assert_eq!((one.ino(), one.nlink()), (other.ino(), 2));
        }
    }
    let outcome = copy(&[&"-r", &at("from/."), &at("apart")]).expect_success();
    assert_eq!((outcome.count("files"), outcome.count("hard_links")), (100, 0));
    compare(&at("from"), &at("apart"));
}

#[test]
fn deep_trees_are_copied() {
    let root = tempfile::tempdir().unwrap();
    let mut path = root.path().join("from");
    let (from, to) = (path.clone(), root.path().join("to"));
    for _ in 0..300 {
        path.push("deeper");
    }
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("bottom"), "bottom").unwrap();
    copy(&[&"-a", &from, &to]).expect_success();
    assert_eq!(compare(&from, &to), 301);
}
