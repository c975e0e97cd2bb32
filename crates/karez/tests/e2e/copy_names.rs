//! Names of source and target of `karez copy`, as with cp(1): files, directories, links, and
//! rejected combinations.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use crate::copy::{command, copy, names};
use crate::server::KAREZ;

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn file_is_copied_into_a_directory_under_its_name() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::write(at("a"), "a").unwrap();
    fs::write(at("b"), "b").unwrap();
    fs::create_dir(at("into")).unwrap();
    copy(&[&at("a"), &at("into")]).expect_success();
    copy(&[&at("a"), &at("b"), &at("into/")]).expect_success();
    assert_eq!((read(&at("into/a")), read(&at("into/b"))), ("a".into(), "b".into()));
    // Relative names, from the working directory of the program.
    let output = command(&[&"a", &"c"]).current_dir(root.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(read(&at("c")), "a");
    let odd = root.path().join(OsStr::from_bytes(b"odd \xff\n name"));
    copy(&[&at("a"), &odd]).expect_success();
    assert_eq!(read(&odd), "a");
}

#[test]
fn several_sources_need_a_directory() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::write(at("a"), "a").unwrap();
    fs::write(at("b"), "b").unwrap();
    let output = Command::new(KAREZ).arg("copy").args([at("a"), at("a"), at("b")]).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(read(&at("b")), "b");
}

#[test]
fn one_failure_does_not_stop_the_rest() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::write(at("b"), "b").unwrap();
    fs::create_dir(at("into")).unwrap();
    let missing = at("missing");
    let outcome = copy(&[&missing, &at("b"), &at("into")]);
    let outcome = outcome.expect_error(&["stat", missing.to_str().unwrap(), "(os error 2)"]);
    assert_eq!((outcome.count("files"), outcome.count("failed")), (1, 1));
    assert_eq!(read(&at("into/b")), "b");
}

const ITSELF: &str = "are the same file";

/// Source, target, whether with -r, and the error.
const HARMFUL: [(&str, &str, bool, &str); 23] = [
    ("file", "file", false, ITSELF),
    ("file", "hard", false, ITSELF),
    ("file", "soft", false, ITSELF),
    ("soft", "file", false, ITSELF),
    ("file", ".", false, ITSELF),
    ("soft", "soft", true, ITSELF),
    ("file", "other", false, "is a directory, and is not replaced by a file"),
    ("file", "fifo", true, "is not a regular file"),
    ("file", "dangling", false, "is a dangling symbolic link"),
    ("file", "new/", false, "is not a directory"),
    ("file", "new/er", false, "os error 2"),
    ("file", "file/x", false, "os error 20"),
    ("socket", "new", false, "with -r only"),
    ("directory", "new", false, "with -r only"),
    ("directory", "directory", true, "into itself"),
    ("directory", "directory/below", true, "into itself"),
    ("directory", "directory/below/new", true, "into itself"),
    ("directory", "way/new", true, "into itself"),
    ("directory/.", "directory", true, "into itself"),
    (".", "directory/new", true, "into itself"),
    ("directory", "file", true, "is not a directory, and is not replaced by one"),
    ("directory", "merge", true, "is not a directory, and is not replaced by one"),
    ("directory/below/..", "directory/below", true, "into itself"),
];

#[test]
fn harmful_copies_are_rejected() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::write(at("file"), "file").unwrap();
    fs::hard_link(at("file"), at("hard")).unwrap();
    symlink("file", at("soft")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    fs::create_dir_all(at("directory/below")).unwrap();
    fs::create_dir_all(at("other/file")).unwrap();
    fs::create_dir_all(at("merge/directory")).unwrap();
    fs::write(at("merge/directory/below"), "a file").unwrap();
    symlink("directory", at("way")).unwrap();
    assert!(Command::new("mkfifo").arg(at("fifo")).status().unwrap().success());
    let _socket = UnixListener::bind(at("socket")).unwrap();
    for (from, to, recursive, words) in HARMFUL {
        let flags: &[&str] = if recursive { &["-r"] } else { &[] };
        let mut command = command(&[]);
        command.args(flags).args([from, to]).current_dir(root.path());
        let outcome = crate::copy::Outcome::of(&command.output().unwrap());
        println!("{from} {to}: {}", outcome.stderr);
        outcome.expect_error(&[words]);
    }
    assert_eq!(
        names(root.path()),
        [
            "dangling",
            "directory",
            "fifo",
            "file",
            "hard",
            "merge",
            "other",
            "socket",
            "soft",
            "way"
        ]
    );
    assert_eq!(names(&at("directory")), ["below"]);
    assert_eq!(fs::metadata(at("file")).unwrap().nlink(), 2);
    assert_eq!(read(&at("file")), "file");
}

#[test]
fn link_is_followed_without_r_and_copied_with_it() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::write(at("file"), "file").unwrap();
    symlink("file", at("soft")).unwrap();
    copy(&[&at("soft"), &at("followed")]).expect_success();
    assert!(at("followed").symlink_metadata().unwrap().is_file());
    let outcome = copy(&[&"-r", &at("soft"), &at("link")]).expect_success();
    assert_eq!(fs::read_link(at("link")).unwrap(), Path::new("file"));
    assert_eq!(outcome.count("symlinks"), 1);
    // Over an existing name, also over another link.
    symlink("elsewhere", at("old")).unwrap();
    copy(&[&"-r", &at("soft"), &at("old")]).expect_success();
    assert_eq!(fs::read_link(at("old")).unwrap(), Path::new("file"));
    assert_eq!(names(root.path()), ["file", "followed", "link", "old", "soft"]);
}

#[test]
fn link_at_the_target_is_followed() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::write(at("new"), "new").unwrap();
    fs::create_dir(at("away")).unwrap();
    fs::write(at("away/old"), "old").unwrap();
    symlink("away/old", at("soft")).unwrap();
    copy(&[&at("new"), &at("soft")]).expect_success();
    assert_eq!(fs::read_link(at("soft")).unwrap(), Path::new("away/old"));
    assert_eq!(read(&at("away/old")), "new");
    assert_eq!(names(&at("away")), ["old"]);
}

#[test]
fn replacement_is_atomic_and_keeps_the_mode() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::write(at("new"), "new").unwrap();
    fs::write(at("old"), "something longer").unwrap();
    fs::set_permissions(at("old"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::hard_link(at("old"), at("other name")).unwrap();
    let reader = File::open(at("old")).unwrap();
    copy(&[&at("new"), &at("old")]).expect_success();
    assert_eq!(read(&at("old")), "new");
    assert_eq!(fs::metadata(at("old")).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(read(&at("other name")), "something longer");
    assert_eq!(std::io::read_to_string(reader).unwrap(), "something longer");
    assert_eq!(names(root.path()), ["new", "old", "other name"]);
}

#[test]
fn no_clobber_keeps_existing_files() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::create_dir(at("from")).unwrap();
    fs::create_dir_all(at("to/from")).unwrap();
    for name in ["from/a", "from/b", "from/c"] {
        fs::write(at(name), "new").unwrap();
    }
    symlink("x", at("from/d")).unwrap();
    fs::write(at("to/from/a"), "old").unwrap();
    symlink("nowhere", at("to/from/b")).unwrap();
    fs::write(at("to/from/d"), "old").unwrap();
    let outcome = copy(&[&"-rn", &at("from"), &at("to")]).expect_success();
    assert_eq!((outcome.count("files"), outcome.count("skipped")), (1, 3));
    assert_eq!((read(&at("to/from/a")), read(&at("to/from/d"))), ("old".into(), "old".into()));
    assert_eq!(fs::read_link(at("to/from/b")).unwrap(), Path::new("nowhere"));
    assert_eq!(read(&at("to/from/c")), "new");
}
