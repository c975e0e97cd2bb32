//! Shared extents, on the file systems that have them: btrfs and xfs, made for the test.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use crate::copy::{Outcome, command, copy, names};
use crate::disk_image::Image;
use crate::files::pattern;
use crate::server::KAREZ;
use crate::strace::{self, name};

const SIZE: usize = (3 << 20) + 7;

/// The images that this machine can mount.
fn images() -> impl Iterator<Item = (&'static str, Image)> {
    let all = [
        ("btrfs", &["mkfs.btrfs", "-q"][..], 256),
        ("xfs", &["mkfs.xfs", "-q", "-m", "reflink=1"], 400),
    ];
    all.into_iter().filter_map(|(kind, mkfs, mib)| Some((kind, Image::made_by(mkfs, mib)?)))
}

/// Returns whether filefrag(8), which uses FIEMAP, reports all extents of a file as shared.
fn is_shared(path: &Path) -> bool {
    let output = match Command::new("filefrag").arg("-sv").arg(path).env("LC_ALL", "C").output() {
        Ok(output) if output.status.success() => output,
        other => panic!("filefrag: {other:?}"),
    };
    let table = String::from_utf8(output.stdout).unwrap();
    let extents = table.lines().filter(|line| line.trim_start().starts_with(char::is_numeric));
    let shared: Vec<_> = extents.map(|line| line.contains("shared")).collect();
    !shared.is_empty() && shared.iter().all(|&shared| shared)
}

fn has_filefrag() -> bool {
    let found = Command::new("filefrag").arg("-V").output().is_ok();
    if !found {
        println!("skipped: filefrag is missing");
    }
    found
}

#[test]
fn reflinked_copy_shares_extents_until_written() {
    for (kind, image) in images() {
        let (from, to) = (image.join("from"), image.join("to"));
        fs::write(&from, pattern(SIZE)).unwrap();
        let output = Command::new(KAREZ).arg("copy").args([&from, &to]).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(printed.contains("reflink, 0 bytes copied"), "{kind}: {printed}");
        assert!(fs::read(&to).unwrap() == pattern(SIZE), "{kind}");
        if has_filefrag() {
            assert!(is_shared(&from) && is_shared(&to), "{kind}");
        }
        let edited = File::options().write(true).open(&to).unwrap();
        edited.write_all_at(b"edited", 1 << 20).unwrap();
        edited.sync_all().unwrap();
        assert!(fs::read(&from).unwrap() == pattern(SIZE), "{kind}: the original is edited");
        let mut expected = pattern(SIZE);
        expected[1 << 20..][..6].copy_from_slice(b"edited");
        assert!(fs::read(&to).unwrap() == expected, "{kind}");
        if has_filefrag() {
            assert!(!is_shared(&to), "{kind}: all is shared after an edit");
        }
        assert_eq!(names(&image.path).iter().filter(|name| *name != "to").count(), 1, "{kind}");
    }
}

#[test]
fn report_separates_shared_and_copied_bytes() {
    for (kind, image) in images() {
        let (from, to) = (image.join("from"), image.join("to"));
        fs::write(&from, pattern(SIZE)).unwrap();
        let all = SIZE as u64;
        for (via, ran, shared, copied, untold) in [
            ("auto", "reflink", all, 0, 0),
            ("reflink", "reflink", all, 0, 0),
            ("copy-range", "copy-range", 0, 0, all),
            ("sendfile", "sendfile", 0, all, 0),
            ("direct", "direct", 0, all, 0),
        ] {
            let outcome = copy(&[&"--via", &via, &from, &to]).expect_success();
            assert_eq!(outcome.vias(), [ran], "{kind}, {via}");
            let parts = ["bytes_shared", "bytes_copied", "bytes_unknown"];
            let parts = parts.map(|part| outcome.count(part));
            assert_eq!(parts, [shared, copied, untold], "{kind}, {via}");
            assert!(outcome.fallbacks().is_empty(), "{kind}, {via}: {outcome:?}");
            assert!(fs::read(&to).unwrap() == pattern(SIZE), "{kind}, {via}");
        }
    }
}

#[test]
fn reflink_is_one_call_and_moves_no_bytes() {
    for (kind, image) in images() {
        let (from, to) = (image.join("from"), image.join("to"));
        fs::write(&from, pattern(SIZE)).unwrap();
        let Some((output, calls)) = strace::run(&[], &command(&[&from, &to])) else { return };
        Outcome::of(&output).expect_success();
        let cloned = |call: &&strace::Call| call.contains("FICLONERANGE");
        assert_eq!(calls.iter().filter(cloned).count(), 1, "{kind}");
        let begin = calls.iter().position(|call| call.contains("O_TMPFILE")).unwrap();
        let end = calls.iter().position(|call| name(call) == "linkat").unwrap();
        for call in &calls[begin..end] {
            let moving = ["copy_file_range", "sendfile", "splice", "pread64", "pwrite64"];
            assert!(!moving.contains(&name(call)), "{kind}: {}", &**call);
        }
    }
}

#[test]
fn reflink_keeps_holes_and_shared_extents() {
    for (kind, image) in images() {
        let (from, to) = (image.join("from"), image.join("to"));
        let file = File::create(&from).unwrap();
        file.set_len(5 << 30).unwrap();
        for at in [0, 8 << 20, (4 << 30) + 4096, (5 << 30) - 4096] {
            file.write_all_at(&pattern(4096), at).unwrap();
        }
        file.sync_all().unwrap();
        let outcome = copy(&[&from, &to]).expect_success();
        assert_eq!(outcome.vias(), ["reflink"], "{kind}");
        assert_eq!(outcome.count("bytes_copied"), 0, "{kind}");
        assert!(outcome.count("bytes_holes") > 4 << 30, "{kind}: {outcome:?}");
        let copied = File::open(&to).unwrap();
        assert_eq!(copied.metadata().unwrap().len(), 5 << 30, "{kind}");
        for at in [0, 8 << 20, (4 << 30) + 4096, (5 << 30) - 4096] {
            let mut bytes = vec![0; 4096];
            copied.read_exact_at(&mut bytes, at).unwrap();
            assert!(bytes == pattern(4096), "{kind}, {at}");
        }
    }
}

#[test]
fn unsupported_reflink_falls_back() {
    for (kind, image) in images() {
        let (from, to) = (image.join("from"), image.join("to"));
        fs::write(&from, pattern(SIZE)).unwrap();
        let command = command(&[&from, &to]);
        let Some((_, calls)) = strace::run(&[], &command) else { return };
        let when = strace::ordinal(&calls, "ioctl", &["FICLONERANGE"], 1);
        for (errno, number) in [("EINVAL", 22), ("ETXTBSY", 26), ("EOPNOTSUPP", 95)] {
            let inject = format!("inject=ioctl:error={errno}:when={when}");
            let (output, _) = strace::run(&["-e", &inject], &command).unwrap();
            let outcome = Outcome::of(&output).expect_success();
            assert_eq!(outcome.fallbacks(), [("reflink", number, 0)], "{kind}");
            assert_eq!(outcome.vias(), ["copy-range"], "{kind}");
            assert!(fs::read(&to).unwrap() == pattern(SIZE), "{kind}");
        }
    }
}

#[test]
fn tree_is_reflinked_file_by_file() {
    for (kind, image) in images() {
        let (from, to) = (image.join("from"), image.join("to"));
        fs::create_dir_all(from.join("below")).unwrap();
        for number in 0..50_usize {
            let name = format!("{}{number}", if number % 2 == 0 { "" } else { "below/" });
            fs::write(from.join(name), pattern(10_000 + number)).unwrap();
        }
        let outcome = copy(&[&"-a", &"--jobs", &"4", &from, &to]).expect_success();
        let shared = outcome.count("bytes_shared");
        // btrfs stores very small files in its inode tree, without an extent to share.
        assert_eq!((outcome.count("files"), shared), (50, outcome.count("bytes")), "{kind}");
        for number in 0..50_usize {
            let name = format!("{}{number}", if number % 2 == 0 { "" } else { "below/" });
            assert!(fs::read(to.join(name)).unwrap() == pattern(10_000 + number), "{kind}");
        }
    }
}
