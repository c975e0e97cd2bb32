//! `karez copy` of one file: every via, every size, holes, and files whose reported size is wrong.

use karez_transfer::{CachePolicy, Direction, Via};
use rustix::fs::{SeekFrom, seek};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Output};

use crate::disk_image::Image;
use crate::environment;
use crate::files::pattern;
use crate::server::KAREZ;

/// The result of a copy.
#[derive(Debug)]
pub struct Outcome {
    pub status: ExitStatus,
    /// The JSON report.
    pub json: Value,
    /// The text on standard error.
    pub stderr: String,
}

impl Outcome {
    pub fn of(output: &Output) -> Self {
        let stderr = String::from_utf8(output.stderr.clone()).unwrap();
        let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        Self { status: output.status, json, stderr }
    }

    pub fn count(&self, name: &str) -> u64 {
        self.json[name].as_u64().unwrap_or_else(|| panic!("{name}: {self:?}"))
    }

    /// Returns the effective vias.
    pub fn vias(&self) -> Vec<&str> {
        self.json["vias"].as_array().unwrap().iter().map(|went| text(&went["via"])).collect()
    }

    /// Returns each fallback: the via that failed, the errno (0 for a reason without one),
    /// and the number of bytes before it.
    pub fn fallbacks(&self) -> Vec<(&str, i64, u64)> {
        let one = |fallback: &'_ Value| {
            let errno = fallback["errno"].as_i64().unwrap_or(0);
            (errno, fallback["after"].as_u64().unwrap())
        };
        let all = self.json["fallbacks"].as_array().unwrap().iter();
        all.map(|each| (text(&each["from"]), one(each).0, one(each).1)).collect()
    }

    /// Expects exit code 0 and no errors.
    pub fn expect_success(self) -> Self {
        assert!(self.status.success() && self.stderr.is_empty(), "{self:?}");
        assert_eq!(self.count("failed"), 0, "{self:?}");
        self
    }

    /// Expects a failure with one line on standard error that contains all of these words.
    pub fn expect_error(self, words: &[&str]) -> Self {
        assert_eq!(self.status.code(), Some(1), "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in {self:?}");
        }
        assert_eq!(self.json["failures"].as_array().unwrap().len(), 1, "{self:?}");
        self
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// Returns the command `karez copy --json` with these arguments.
pub fn command(args: &[&dyn AsRef<OsStr>]) -> Command {
    environment::normalize();
    let mut command = Command::new(KAREZ);
    command.args(["copy", "--json"]).args(args.iter().map(|arg| (*arg).as_ref()));
    command
}

/// Runs `karez copy --json` with these arguments.
pub fn copy(args: &[&dyn AsRef<OsStr>]) -> Outcome {
    Outcome::of(&command(args).output().unwrap())
}

/// Returns the sorted names in a directory, hidden ones included.
pub fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Returns the vias that `--via` accepts.
pub fn vias() -> impl Iterator<Item = Via> {
    Direction::FileToFile.vias().iter().copied().filter(|&via| via != Via::Cow)
}

#[test]
fn every_via_copies_every_size() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    for size in [0, 1, 4095, 4096, 4097, (3 << 20) + 7] {
        fs::write(&from, pattern(size)).unwrap();
        for via in vias() {
            let copied = copy(&[&"--via", &via.name(), &from, &to]).expect_success();
            assert!(fs::read(&to).unwrap() == pattern(size), "{via}, {size}");
            assert_eq!((copied.count("files"), copied.count("bytes")), (1, size as u64), "{via}");
            let parts = ["bytes_copied", "bytes_shared", "bytes_unknown"];
            let sum: u64 = parts.iter().map(|part| copied.count(part)).sum();
            assert_eq!(sum, size as u64, "{via}: {copied:?}");
            let ran = copied.vias();
            let fell = !copied.fallbacks().is_empty();
            assert!(size == 0 || fell || via == Via::Auto || ran == [via.name()], "{copied:?}");
            assert_eq!(copied.json["requested"]["via"], via.name());
            assert_eq!(names(root.path()), ["from", "to"], "{via}, {size}");
        }
    }
}

#[test]
fn every_cache_policy_copies_correctly() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    let content = pattern((9 << 20) + 5);
    fs::write(&from, &content).unwrap();
    for cache in CachePolicy::ALL {
        for via in vias() {
            let args: [&dyn AsRef<OsStr>; 6] =
                [&"--cache", &cache.name(), &"--via", &via.name(), &from, &to];
            let copied = copy(&args).expect_success();
            let ran = copied.json["cache_policies"].as_array().unwrap();
            let refused = &copied.json["cache_fallback"];
            assert!(refused.is_null() || *cache == CachePolicy::Uncached, "{via}: {copied:?}");
            let alone = matches!(cache, CachePolicy::Uncached | CachePolicy::Direct);
            assert!(ran.len() == 1 && (alone || ran[0] == cache.name()), "{via}: {copied:?}");
            assert!(fs::read(&to).unwrap() == content, "{cache}, {via}");
        }
    }
}

#[test]
fn fallback_from_uncached_is_reported() {
    let Some(image) = Image::mount_in_memory("tmpfs", "size=16m") else { return };
    let (from, to) = (image.join("from"), image.join("to"));
    // Two extents: the support is probed at the first one only.
    let file = File::create(&from).unwrap();
    file.write_all_at(&pattern(5000), 0).unwrap();
    file.write_all_at(&pattern(5000), 4 << 20).unwrap();
    let copied = copy(&[&"--cache", &"uncached", &from, &to]).expect_success();
    assert!(fs::read(&to).unwrap() == fs::read(&from).unwrap());
    let caches = &copied.json["cache_policies"];
    if caches[0] == "uncached" {
        println!("skipped: this tmpfs keeps things out of its memory");
        return;
    }
    assert_eq!((caches.as_array().unwrap().len(), &caches[0]), (1, &Value::from("drop")));
    let refused = &copied.json["cache_fallback"];
    assert_eq!((refused["errno"].as_i64(), refused["times"].as_i64()), (Some(95), Some(1)));
    let mut command = Command::new(KAREZ);
    let printed =
        command.args(["copy", "--cache", "uncached"]).args([&from, &to]).output().unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    assert!(printed.contains("fell back from --cache uncached to drop: "), "{printed}");
}

#[test]
fn holes_are_preserved_beyond_4_gib() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    let size = (6 << 30) + 123;
    let parts = [(0, 5000), (1 << 20, 4096), ((4 << 30) + 8192, 70_000), ((5 << 30) + 1, 1)];
    let file = File::create(&from).unwrap();
    file.set_len(size).unwrap();
    for (at, length) in parts {
        file.write_all_at(&pattern(length), at).unwrap();
    }
    file.sync_all().unwrap();
    let original = fs::metadata(&from).unwrap();
    if original.blocks() * 512 > 1 << 30 {
        println!("skipped: this file system has no holes");
        return;
    }
    for via in vias() {
        let copied = copy(&[&"--via", &via.name(), &from, &to]).expect_success();
        let file = File::open(&to).unwrap();
        file.sync_all().unwrap();
        let copy = fs::metadata(&to).unwrap();
        assert_eq!(copy.len(), size, "{via}");
        assert!(copy.blocks() <= original.blocks(), "{via}: {} blocks", copy.blocks());
        assert!(copied.count("bytes") < 1 << 20, "{via}: {copied:?}");
        assert_eq!(copied.count("bytes") + copied.count("bytes_holes"), size, "{via}");
        for (at, length) in parts {
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, at).unwrap();
            assert!(bytes == pattern(length), "{via}, at {at}");
        }
        let first_hole = seek(&file, SeekFrom::Hole(0)).unwrap();
        assert_eq!(first_hole, seek(File::open(&from).unwrap(), SeekFrom::Hole(0)).unwrap());
    }
}

#[test]
fn file_without_data_is_copied() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    File::create(&from).unwrap().set_len(1 << 40).unwrap();
    let copied = copy(&[&from, &to]).expect_success();
    assert_eq!(fs::metadata(&to).unwrap().len(), 1 << 40);
    assert_eq!((copied.count("bytes"), copied.count("bytes_holes")), (0, 1 << 40));
}

#[test]
fn files_with_wrong_sizes_are_read_to_their_end() {
    let root = tempfile::tempdir().unwrap();
    let to = root.path().join("to");
    for via in vias() {
        // Its reported size is 0.
        copy(&[&"--via", &via.name(), &"/proc/filesystems", &to]).expect_success();
        let expected = fs::read("/proc/filesystems").unwrap();
        assert!(!expected.is_empty() && fs::read(&to).unwrap() == expected, "{via}");
        // Its reported size is one page.
        let Ok(expected) = fs::read("/sys/kernel/mm/transparent_hugepage/enabled") else {
            println!("skipped: no /sys");
            continue;
        };
        copy(&[&"--via", &via.name(), &"/sys/kernel/mm/transparent_hugepage/enabled", &to])
            .expect_success();
        assert_eq!(fs::read(&to).unwrap(), expected, "{via}");
    }
}

#[test]
fn text_report_names_the_via() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    fs::write(&from, pattern(5000)).unwrap();
    let say = |args: &[&str]| {
        let mut command = Command::new(KAREZ);
        let output = command.arg("copy").args(args).arg(&from).arg(&to).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let printed = say(&["--via", "splice"]);
    assert!(
        printed.starts_with("1 file, 4.88 KiB in ") && printed.contains(": splice, "),
        "{printed}"
    );
    assert!(printed.contains("4.88 KiB copied") && printed.lines().count() == 1, "{printed}");
    assert_eq!(say(&["--quiet"]), "");
    assert!(say(&["--no-clobber"]).starts_with("1 skipped"));
}

#[test]
fn progress_bar_needs_a_terminal_and_a_long_copy() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    fs::write(&from, pattern(400 << 10)).unwrap();
    // strace delays every write by a fifth of a second.
    let slowly = format!(
        "strace -qq -o /dev/null -e inject=pwrite64:delay_exit=200000 {KAREZ} copy --via copy {} {}",
        from.display(),
        to.display()
    );
    let on_terminal = |command: &str| {
        Command::new("script").args(["-qec", command, "/dev/null"]).env("TERM", "xterm").output()
    };
    match on_terminal("strace -qq -o /dev/null true") {
        Ok(output) if output.status.success() && output.stdout.is_empty() => {}
        other => {
            println!("skipped: script or strace: {other:?}");
            return;
        }
    }
    let seen = on_terminal(&slowly).unwrap();
    let seen_text = String::from_utf8_lossy(&seen.stdout);
    assert!(seen.status.success() && seen_text.contains("/400.00 KiB"), "{seen_text}");
    let quiet = on_terminal(&format!("{slowly} --quiet")).unwrap();
    assert!(quiet.status.success() && quiet.stdout.is_empty(), "{quiet:?}");
    let output = Command::new("sh").args(["-c", &slowly]).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "no terminal: {output:?}");
}
