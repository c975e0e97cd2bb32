//! `karez copy --sync`: after exit code 0 a power cut loses nothing.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use crate::copy::{Outcome, command, copy, names};
use crate::disk_image::Image;
use crate::files::pattern;
use crate::strace::{self, Call, name};

/// On-disk file systems, their size, and the mount options for a second one with the same UUID.
const KINDS: [(&[&str], u64, &str); 2] =
    [(&["mkfs.ext4", "-q"], 64, ""), (&["mkfs.xfs", "-q"], 320, ",nouuid")];

const FILES: usize = 200;

/// A tree of small files and of every other kind of entry.
fn tree(root: &Path) {
    for number in 0..FILES {
        let directory = root.join(format!("{}", number % 7));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(number.to_string()), pattern(number * 100)).unwrap();
    }
    fs::hard_link(root.join("0/0"), root.join("1/link")).unwrap();
    fs::create_dir_all(root.join("empty/empty")).unwrap();
    symlink("0/0", root.join("empty/symlink")).unwrap();
    fs::set_permissions(root.join("0/7"), fs::Permissions::from_mode(0o640)).unwrap();
}

/// Name, mode, time and content.
type Entry = (String, u32, i64, Vec<u8>);

/// Returns names, kinds, modes, times and contents of all entries below, sorted.
fn all_of(root: &Path) -> Vec<Entry> {
    let mut all = Vec::new();
    for name in names(root) {
        let path = root.join(&name);
        let of = fs::symlink_metadata(&path).unwrap();
        let content = match of.file_type() {
            kind if kind.is_file() => fs::read(&path).unwrap(),
            kind if kind.is_symlink() => {
                fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            }
            _ => Vec::new(),
        };
        all.push((name.clone(), of.mode(), of.mtime(), content));
        if of.is_dir() {
            all.extend(all_of(&path).into_iter().map(|(below, mode, time, content)| {
                (format!("{name}/{below}"), mode, time, content)
            }));
        }
    }
    all
}

fn expect_same(found: &[Entry], expected: &[Entry]) {
    let short = |all: &[Entry]| -> Vec<_> {
        let one = |(name, mode, time, content): &Entry| (name.clone(), *mode, *time, content.len());
        all.iter().map(one).collect()
    };
    assert_eq!(short(found), short(expected));
    assert!(found == expected, "other bytes");
}

#[test]
fn synced_copy_survives_a_power_cut() {
    let root = tempfile::tempdir().unwrap();
    let from = root.path().join("from");
    tree(&from);
    for (mkfs, size, options) in KINDS {
        let Some(image) = Image::made_by(mkfs, size) else { continue };
        for jobs in ["1", "4"] {
            let to = format!("tree-{jobs}");
            let outcome = copy(&[&"-a", &"--sync", &"--jobs", &jobs, &from, &image.join(&to)])
                .expect_success();
            assert!(outcome.count("synced") > FILES as u64, "{outcome:?}");
            let found = image.after_power_cut(options);
            expect_same(&all_of(&found.join(&to)), &all_of(&from));
        }
        // One file under a new name, and one that replaces another.
        for content in [pattern(300_000), pattern(70_007)] {
            let file = root.path().join("file");
            fs::write(&file, &content).unwrap();
            copy(&[&"--sync", &file, &image.join("file")]).expect_success();
            let found = image.after_power_cut(options);
            assert!(fs::read(found.join("file")).unwrap() == content, "{mkfs:?}");
        }
        // No regular file, whose flush would include the rest.
        let empty = from.join("empty");
        copy(&[&"-r", &"--sync", &empty, &image.join("links")]).expect_success();
        let found = image.after_power_cut(options);
        assert_eq!(names(&found.join("links")), ["empty", "symlink"], "{mkfs:?}");
    }
}

#[test]
fn many_files_share_disk_flushes() {
    let root = tempfile::tempdir().unwrap();
    tree(root.path());
    for (mkfs, size, _) in KINDS {
        let Some(image) = Image::made_by(mkfs, size) else { continue };
        let Some(mut before) = image.flushes() else {
            println!("skipped: no statistics of the block device");
            continue;
        };
        let mut counts = Vec::new();
        // Threads that never overlap share no flush: on a busy machine it may take another attempt.
        while counts.len() < 5 && counts.last().is_none_or(|&count| count >= FILES as u64) {
            let to = image.join(counts.len().to_string());
            copy(&[&"-r", &"--sync", &root.path(), &to]).expect_success();
            let flushes = image.flushes().unwrap();
            assert!(flushes > before, "{mkfs:?}: there were some");
            counts.push(flushes - before);
            before = flushes;
        }
        assert!(*counts.last().unwrap() < FILES as u64, "{mkfs:?}: {counts:?} of {FILES} files");
    }
}

/// Returns the position of the last successful call of this name.
fn last(calls: &[Call], wanted: &str) -> usize {
    calls.iter().rposition(|call| name(call) == wanted && !call.contains(" = -1 ")).unwrap()
}

#[test]
fn file_is_synced_before_it_replaces_another() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    fs::write(&from, "new").unwrap();
    fs::write(&to, "old").unwrap();
    let command = command(&[&"--sync", &from, &to]);
    let Some((output, calls)) = strace::run(&[], &command) else { return };
    assert_eq!(Outcome::of(&output).expect_success().count("synced"), 2);
    let synced: Vec<_> = (0..calls.len()).filter(|&at| name(&calls[at]) == "fsync").collect();
    let [file, directory] = synced[..] else { panic!("{synced:?}") };
    assert!(file < last(&calls, "renameat") && last(&calls, "renameat") < directory);
    assert!(last(&calls, "fchmod") < file, "with its attributes");
    fs::write(&to, "old").unwrap();
    let (output, _) = strace::run(&["-e", "inject=fsync:error=EIO:when=1"], &command).unwrap();
    Outcome::of(&output).expect_error(&["fsync", to.to_str().unwrap(), "(os error 5)"]);
    assert_eq!((fs::read(&to).unwrap(), names(root.path()).len()), (b"old".to_vec(), 2));
}

#[test]
fn fsync_error_is_reported_and_the_rest_is_synced() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    tree(&from);
    for (errno, number) in [("EIO", 5), ("ENOSPC", 28), ("EDQUOT", 122)] {
        let command = command(&[&"-r", &"--sync", &from, &to]);
        let inject = format!("inject=fsync:error={errno}:when=1");
        let Some((output, calls)) = strace::run(&["-e", &inject], &command) else { return };
        // strace counts per thread: the first call of each.
        let failed = strace::injected(&calls, "fsync");
        assert!(failed > 0);
        let outcome = Outcome::of(&output);
        assert_eq!(outcome.count("failed"), failed as u64, "{outcome:?}");
        assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
        let complaints = outcome.stderr.matches(&format!("(os error {number})")).count();
        assert_eq!((complaints, outcome.stderr.matches("fsync").count()), (failed, failed));
        assert_eq!(outcome.count("files"), FILES as u64 + 1, "{outcome:?}");
        fs::remove_dir_all(&to).unwrap();
    }
}

#[test]
fn syncfs_is_used_without_fsync() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    fs::write(&from, "content").unwrap();
    let command = command(&[&"--sync", &from, &to]);
    for errno in ["EINVAL", "EOPNOTSUPP", "ENOSYS"] {
        let inject = format!("inject=fsync:error={errno}");
        let Some((output, calls)) = strace::run(&["-e", &inject], &command) else { return };
        assert_eq!(Outcome::of(&output).expect_success().count("synced"), 2, "{errno}");
        assert_eq!(strace::count(&calls, "syncfs"), 2, "{errno}");
        fs::remove_file(&to).unwrap();
    }
    let Some((output, calls)) = strace::run(&["-e", "inject=fsync:error=EINTR"], &command) else {
        return;
    };
    assert_eq!(Outcome::of(&output).count("failed"), 2, "{output:?}");
    assert!(strace::count(&calls, "fsync") < 100);
}

#[test]
fn nothing_is_synced_by_default() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    tree(&from);
    let Some((output, calls)) = strace::run(&[], &command(&[&"-a", &from, &to])) else { return };
    assert_eq!(Outcome::of(&output).expect_success().count("synced"), 0);
    for call in ["fsync", "fdatasync", "syncfs", "sync", "sync_file_range"] {
        assert_eq!(strace::count(&calls, call), 0, "{call}");
    }
}
