//! Sources and targets of `karez copy` that are one file or share a name: no data is lost.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use crate::copy::{Outcome, command, copy, names};

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

fn make_fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Returns mode, size and, for a symbolic link, its target.
fn look(path: &Path) -> (u32, u64, String) {
    let there = fs::symlink_metadata(path).unwrap();
    let points = fs::read_link(path).unwrap_or_default();
    (there.mode(), there.ino(), points.display().to_string())
}

/// Flags, source and target where one is a link to the other.
const SAME: [(&str, &str, &str); 13] = [
    ("-r", "soft", "file"),
    ("-a", "soft", "file"),
    ("-r", "absolute", "file"),
    ("-r", "twice", "file"),
    ("-r", "twice", "soft"),
    ("-r", "soft", "hard"),
    ("-r", "deep/up", "file"),
    ("-r", "soft", "deep/../file"),
    ("-r", "way/into", "deep/data"),
    ("-r", "file", "soft"),
    ("-r", "to-fifo", "fifo"),
    ("-r", "fifo", "to-fifo"),
    ("--no-clobber", "file", "file"),
];

#[test]
fn link_is_not_copied_onto_its_target() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::write(at("file"), "data").unwrap();
    fs::hard_link(at("file"), at("hard")).unwrap();
    fs::create_dir(at("deep")).unwrap();
    fs::write(at("deep/data"), "deep data").unwrap();
    symlink("file", at("soft")).unwrap();
    symlink(at("file"), at("absolute")).unwrap();
    symlink("soft", at("twice")).unwrap();
    symlink("../file", at("deep/up")).unwrap();
    symlink("deep", at("way")).unwrap();
    symlink("../deep/data", at("deep/into")).unwrap();
    make_fifo(&at("fifo"));
    symlink("fifo", at("to-fifo")).unwrap();
    for (flag, from, to) in SAME {
        let before = [from, to].map(|name| look(&at(name)));
        let mut command = command(&[&flag, &from, &to]);
        let outcome = Outcome::of(&command.current_dir(root.path()).output().unwrap());
        if flag == "--no-clobber" {
            assert_eq!(outcome.expect_success().count("skipped"), 1);
        } else {
            outcome.expect_error(&[from, "are the same file"]);
        }
        assert_eq!([from, to].map(|name| look(&at(name))), before, "{from} {to}");
    }
    assert_eq!((read(&at("file")), read(&at("deep/data"))), ("data".into(), "deep data".into()));
}

#[test]
fn tree_of_links_into_the_target_does_not_change_it() {
    for jobs in ["1", "4"] {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir_all(at("home/below")).unwrap();
        fs::create_dir_all(at("dot/below")).unwrap();
        fs::write(at("dot/rc"), "precious").unwrap();
        fs::write(at("dot/below/rc"), "precious, too").unwrap();
        symlink("../dot/rc", at("home/rc")).unwrap();
        symlink(at("dot/below/rc"), at("home/below/rc")).unwrap();
        fs::write(at("home/other"), "other").unwrap();
        for flag in ["-r", "-a"] {
            let outcome = copy(&[&flag, &"--jobs", &jobs, &at("home/."), &at("dot")]);
            assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
            assert_eq!((outcome.count("failed"), outcome.count("files")), (2, 1), "{outcome:?}");
            assert_eq!(
                outcome.stderr.matches("are the same file").count(),
                2,
                "{}",
                outcome.stderr
            );
            assert_eq!(read(&at("dot/rc")), "precious");
            assert_eq!(read(&at("dot/below/rc")), "precious, too");
            assert!(!at("dot/rc").is_symlink() && !at("dot/below/rc").is_symlink());
            assert_eq!(read(&at("dot/other")), "other");
        }
        // In the other direction, a link in the target is not replaced by the file that it refers
        // to.
        let outcome = copy(&[&"-r", &"--jobs", &jobs, &at("dot/."), &at("home")]);
        assert_eq!((outcome.count("failed"), outcome.count("files")), (2, 1), "{outcome:?}");
        assert!(at("home/rc").is_symlink());
    }
}

#[test]
fn links_to_another_file_are_replaced() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::write(at("file"), "data").unwrap();
    fs::create_dir(at("from")).unwrap();
    for name in ["absolute", "dangling"] {
        let points = if name == "absolute" { at("file") } else { at("nowhere") };
        symlink(points, at("from").join(name)).unwrap();
    }
    // The second run replaces the links of the first.
    for _ in 0..2 {
        let outcome = copy(&[&"-r", &at("from/."), &at("to")]).expect_success();
        assert_eq!(outcome.count("symlinks"), 2);
        assert_eq!(fs::read_link(at("to/absolute")).unwrap(), at("file"));
    }
    assert_eq!(read(&at("file")), "data");
}

/// Three directories with a file `a` of different content, and a target directory.
fn three() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for name in ["1", "2", "3", "into"] {
        fs::create_dir(root.path().join(name)).unwrap();
    }
    for name in ["1", "2", "3"] {
        fs::write(root.path().join(name).join("a"), name).unwrap();
        symlink(name, root.path().join(name).join("link")).unwrap();
    }
    root
}

#[test]
fn two_sources_with_one_name_are_not_both_copied() {
    for jobs in ["1", "8"] {
        for existing in [false, true] {
            let root = three();
            let at = |name: &str| root.path().join(name);
            fs::write(at("1/b"), "b").unwrap();
            if existing {
                fs::write(at("into/a"), "old").unwrap();
            }
            let args: [&dyn AsRef<std::ffi::OsStr>; 6] =
                [&"--jobs", &jobs, &at("1/a"), &at("2/a"), &at("1/b"), &at("into")];
            let from = at("2/a").display().to_string();
            let outcome =
                copy(&args).expect_error(&["will not overwrite just-created", "into/a", &from]);
            assert_eq!((outcome.count("files"), outcome.count("failed")), (2, 1));
            assert_eq!((read(&at("into/a")), read(&at("into/b"))), ("1".into(), "b".into()));

            let keep = copy(&[&"-n", &at("2/a"), &at("3/a"), &at("into")]).expect_success();
            assert_eq!((keep.count("files"), keep.count("skipped")), (0, 2));
            fs::remove_file(at("into/a")).unwrap();
            let keep = copy(&[&"-n", &at("2/a"), &at("3/a"), &at("into")]).expect_success();
            assert_eq!((keep.count("files"), keep.count("skipped")), (1, 1));
            assert_eq!(read(&at("into/a")), "2");
        }
    }
}

#[test]
fn failed_source_does_not_reserve_its_name() {
    let root = three();
    let at = |name: &str| root.path().join(name);
    let outcome = copy(&[&at("none/a"), &at("2/a"), &at("into")]);
    outcome.expect_error(&["none/a", "(os error 2)"]);
    assert_eq!(read(&at("into/a")), "2");
}

#[test]
fn links_and_fifos_with_one_name_are_not_both_copied() {
    let root = three();
    let at = |name: &str| root.path().join(name);
    let outcome = copy(&[&"-r", &at("1/link"), &at("2/link"), &at("into")]);
    outcome.expect_error(&["will not overwrite just-created", "into/link"]);
    assert_eq!(fs::read_link(at("into/link")).unwrap(), Path::new("1"));
    make_fifo(&at("3/b"));
    fs::write(at("2/b"), "b").unwrap();
    copy(&[&"-r", &at("3/b"), &at("2/b"), &at("into")])
        .expect_error(&["will not overwrite just-created", "into/b"]);
}

#[test]
fn links_created_by_the_same_run_are_not_followed() {
    let root = three();
    let at = |name: &str| root.path().join(name);
    fs::write(at("precious"), "precious").unwrap();
    fs::create_dir_all(at("links")).unwrap();
    symlink("../precious", at("links/a")).unwrap();
    copy(&[&"-r", &at("links/a"), &at("1/a"), &at("into")])
        .expect_error(&["will not overwrite just-created", "into/a"]);
    assert_eq!(read(&at("precious")), "precious");
    // The target of a link that existed before has been copied under its own name.
    fs::remove_file(at("into/a")).unwrap();
    symlink("b", at("into/a")).unwrap();
    fs::write(at("2/b"), "b").unwrap();
    fs::write(at("into/b"), "old").unwrap();
    copy(&[&at("2/b"), &at("1/a"), &at("into")])
        .expect_error(&["will not overwrite just-created", "into/a"]);
    assert_eq!(read(&at("into/b")), "b");
}

#[test]
fn duplicate_source_is_copied_once_with_a_warning() {
    let root = three();
    let at = |name: &str| root.path().join(name);
    let outcome = copy(&[&"-r", &at("1/a"), &at("1/a"), &at("2"), &at("2/"), &at("into")]);
    assert!(outcome.status.success(), "{outcome:?}");
    assert_eq!((outcome.count("files"), outcome.count("skipped")), (2, 2));
    let warnings: Vec<_> = outcome.stderr.lines().collect();
    assert_eq!(warnings.len(), 2, "{outcome:?}");
    assert!(warnings.iter().all(|line| line.starts_with("warning: ")), "{warnings:?}");
    copy(&[&"-rq", &at("1/a"), &at("1/a"), &at("into")]).expect_success();
}

/// Two trees that differ in content, in kinds and in the attributes of their directories.
fn two_trees(root: &Path) {
    for (tree, mode) in [("base", 0o755), ("over", 0o711)] {
        for number in 0..30 {
            let directory = root.join(tree).join(format!("{}/{}", number % 3, number % 7));
            fs::create_dir_all(&directory).unwrap();
            // The first takes longer.
            let length = if tree == "base" { 300_000 } else { 10 };
            fs::write(directory.join(number.to_string()), tree.repeat(length)).unwrap();
            symlink(tree, directory.join(format!("link {number}"))).unwrap();
            if tree == "base" {
                fs::write(directory.join("base only"), "").unwrap();
            }
        }
        for number in 0..21 {
            let directory = root.join(tree).join(format!("{}/{}", number % 3, number % 7));
            fs::set_permissions(&directory, fs::Permissions::from_mode(mode)).unwrap();
            let seconds = if tree == "base" { 1_000_000_000 } else { 1_100_000_000 };
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            fs::File::open(&directory).unwrap().set_modified(time).unwrap();
        }
    }
}

/// Expects every file, link and directory of `tree` to be unchanged below `out`.
fn expect_won(out: &Path, tree: &Path) {
    for number in 0..30 {
        let below = format!("{}/{}", number % 3, number % 7);
        let file = Path::new(&below).join(number.to_string());
        assert!(fs::read(out.join(&file)).unwrap() == fs::read(tree.join(&file)).unwrap());
        let link = Path::new(&below).join(format!("link {number}"));
        assert_eq!(
            fs::read_link(out.join(&link)).unwrap(),
            fs::read_link(tree.join(&link)).unwrap()
        );
        let [copy, original] = [out, tree].map(|root| fs::metadata(root.join(&below)).unwrap());
        assert_eq!(copy.mode(), original.mode(), "{out:?} {below}");
        assert_eq!(copy.mtime(), original.mtime(), "{out:?} {below}");
    }
}

#[test]
fn last_tree_wins_and_with_n_the_first() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    two_trees(root.path());
    for (round, jobs) in ["1", "2", "8", "64"].iter().cycle().take(12).enumerate() {
        for (flag, winner) in [("-a", "over"), ("-an", "base")] {
            let out = at(&format!("{flag} {round}"));
            fs::create_dir(&out).unwrap();
            let args: [&dyn AsRef<std::ffi::OsStr>; 6] =
                [&flag, &"--jobs", jobs, &at("base/."), &at("over/."), &out];
            copy(&args).expect_success();
            expect_won(&out, &at(winner));
            assert!(out.join("0/0/base only").exists());
            fs::remove_dir_all(&out).unwrap();
        }
    }
}

#[test]
fn trees_with_one_name_are_merged_in_order() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    two_trees(root.path());
    fs::create_dir(at("more")).unwrap();
    fs::rename(at("over"), at("more/base")).unwrap();
    for jobs in ["1", "8"] {
        let out = at("out");
        fs::create_dir(&out).unwrap();
        let args: [&dyn AsRef<std::ffi::OsStr>; 6] =
            [&"-a", &"--jobs", &jobs, &at("base"), &at("more/base"), &out];
        copy(&args).expect_success();
        expect_won(&at("out/base"), &at("more/base"));
        // A file, then a tree with a directory of the same name.
        fs::write(at("0"), "a file in the way").unwrap();
        let outcome = copy(&[&"-r", &"--jobs", &jobs, &at("base/."), &at("0"), &out]);
        outcome.expect_error(&["out/0\" is a directory"]);
        fs::remove_dir_all(&out).unwrap();
    }
}

#[test]
fn directory_is_not_merged_through_a_link() {
    let root = three();
    let at = |name: &str| root.path().join(name);
    fs::create_dir(at("real")).unwrap();
    symlink("../real", at("into/1")).unwrap();
    copy(&[&"-r", &at("1"), &at("into")]).expect_error(&["into/1\" is not a directory"]);
    assert!(names(&at("real")).is_empty());
    // A link that is given as the target is followed.
    symlink("real", at("way")).unwrap();
    copy(&[&"-r", &at("1/."), &at("way")]).expect_success();
    assert_eq!(names(&at("real")), ["a", "link"]);
}
