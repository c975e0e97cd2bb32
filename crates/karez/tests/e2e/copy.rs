//! `karez copy` of one file: every via, every size, holes, files that say little about themselves.

use karez_transfer::{CachePolicy, Direction, Via};
use rustix::fs::{SeekFrom, seek};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Output};

use crate::environment;
use crate::files::pattern;
use crate::image::Image;
use crate::server::KAREZ;

/// What came of a copy.
#[derive(Debug)]
pub struct Outcome {
    pub status: ExitStatus,
    /// Its report.
    pub json: Value,
    /// What it said on standard error.
    pub said: String,
}

impl Outcome {
    pub fn of(output: &Output) -> Self {
        let said = String::from_utf8(output.stderr.clone()).unwrap();
        let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        Self { status: output.status, json, said }
    }

    pub fn count(&self, name: &str) -> u64 {
        self.json[name].as_u64().unwrap_or_else(|| panic!("{name}: {self:?}"))
    }

    /// The vias that ran.
    pub fn vias(&self) -> Vec<&str> {
        self.json["vias"].as_array().unwrap().iter().map(|went| text(&went["via"])).collect()
    }

    /// From which via, because of which errno, after how many bytes.
    pub fn fallbacks(&self) -> Vec<(&str, i64, u64)> {
        let one = |fallback: &'_ Value| {
            let errno = fallback["errno"].as_i64().unwrap();
            (errno, fallback["after"].as_u64().unwrap())
        };
        let all = self.json["fallbacks"].as_array().unwrap().iter();
        all.map(|each| (text(&each["from"]), one(each).0, one(each).1)).collect()
    }

    /// All was copied.
    pub fn expect_success(self) -> Self {
        assert!(self.status.success() && self.said.is_empty(), "{self:?}");
        assert_eq!(self.count("failed"), 0, "{self:?}");
        self
    }

    /// It failed with one complaint that has all of these in it.
    pub fn expect_complaint(self, words: &[&str]) -> Self {
        assert_eq!(self.status.code(), Some(1), "{self:?}");
        assert_eq!(self.said.lines().count(), 1, "{self:?}");
        for word in words {
            assert!(self.said.contains(word), "{word:?} is not in {self:?}");
        }
        assert_eq!(self.json["failures"].as_array().unwrap().len(), 1, "{self:?}");
        self
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// The command `karez copy --json` with these arguments.
pub fn command(args: &[&dyn AsRef<OsStr>]) -> Command {
    environment::normalize();
    let mut command = Command::new(KAREZ);
    command.args(["copy", "--json"]).args(args.iter().map(|arg| (*arg).as_ref()));
    command
}

/// Runs it.
pub fn copy(args: &[&dyn AsRef<OsStr>]) -> Outcome {
    Outcome::of(&command(args).output().unwrap())
}

/// The names in a directory, hidden ones, too.
pub fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The vias that can be asked for.
pub fn vias() -> impl Iterator<Item = Via> {
    Direction::FileToFile.vias().iter().copied().filter(|&via| via != Via::Cow)
}

#[test]
fn every_size_is_copied_by_every_via() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    for size in [0, 1, 4095, 4096, 4097, (3 << 20) + 7] {
        fs::write(&from, pattern(size)).unwrap();
        for via in vias() {
            let copied = copy(&[&"--via", &via.name(), &from, &to]).expect_success();
            assert!(fs::read(&to).unwrap() == pattern(size), "{via}, {size}");
            assert_eq!((copied.count("files"), copied.count("bytes")), (1, size as u64), "{via}");
            let parts = ["bytes_copied", "bytes_shared", "bytes_untold"];
            let sum: u64 = parts.iter().map(|part| copied.count(part)).sum();
            assert_eq!(sum, size as u64, "{via}: {copied:?}");
            let ran = copied.vias();
            let fell = !copied.fallbacks().is_empty();
            assert!(size == 0 || fell || via == Via::Auto || ran == [via.name()], "{copied:?}");
            assert_eq!(copied.json["asked"]["via"], via.name());
            assert_eq!(names(root.path()), ["from", "to"], "{via}, {size}");
        }
    }
}

#[test]
fn every_cache_policy_copies() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    let content = pattern((9 << 20) + 5);
    fs::write(&from, &content).unwrap();
    for cache in CachePolicy::ALL {
        for via in vias() {
            let args: [&dyn AsRef<OsStr>; 6] =
                [&"--cache", &cache.name(), &"--via", &via.name(), &from, &to];
            let copied = copy(&args).expect_success();
            let ran = copied.json["caches"].as_array().unwrap();
            let refused = &copied.json["cache_refused"];
            assert!(refused.is_null() || *cache == CachePolicy::Uncached, "{via}: {copied:?}");
            let alone = matches!(cache, CachePolicy::Uncached | CachePolicy::Direct);
            assert!(ran.len() == 1 && (alone || ran[0] == cache.name()), "{via}: {copied:?}");
            assert!(fs::read(&to).unwrap() == content, "{cache}, {via}");
        }
    }
}

#[test]
fn where_nothing_can_be_kept_out_of_the_cache_that_is_told() {
    let Some(image) = Image::in_memory("tmpfs", "size=16m") else { return };
    let (from, to) = (image.join("from"), image.join("to"));
    // Two extents: the second is not asked about again.
    let file = File::create(&from).unwrap();
    file.write_all_at(&pattern(5000), 0).unwrap();
    file.write_all_at(&pattern(5000), 4 << 20).unwrap();
    let copied = copy(&[&"--cache", &"uncached", &from, &to]).expect_success();
    assert!(fs::read(&to).unwrap() == fs::read(&from).unwrap());
    let caches = &copied.json["caches"];
    if caches[0] == "uncached" {
        println!("skipped: this tmpfs keeps things out of its memory");
        return;
    }
    assert_eq!((caches.as_array().unwrap().len(), &caches[0]), (1, &Value::from("drop")));
    let refused = &copied.json["cache_refused"];
    assert_eq!((refused["errno"].as_i64(), refused["times"].as_i64()), (Some(95), Some(1)));
    let mut command = Command::new(KAREZ);
    let said = command.args(["copy", "--cache", "uncached"]).args([&from, &to]).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.contains("uncached was refused, so pages were dropped behind: "), "{said}");
}

#[test]
fn holes_stay_holes_also_behind_four_gibibytes() {
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
fn a_file_of_nothing_but_a_hole_is_copied() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    File::create(&from).unwrap().set_len(1 << 40).unwrap();
    let copied = copy(&[&from, &to]).expect_success();
    assert_eq!(fs::metadata(&to).unwrap().len(), 1 << 40);
    assert_eq!((copied.count("bytes"), copied.count("bytes_holes")), (0, 1 << 40));
}

#[test]
fn files_that_do_not_know_their_length_are_read_to_their_end() {
    let root = tempfile::tempdir().unwrap();
    let to = root.path().join("to");
    for via in vias() {
        // It says that it is empty.
        copy(&[&"--via", &via.name(), &"/proc/filesystems", &to]).expect_success();
        let expected = fs::read("/proc/filesystems").unwrap();
        assert!(!expected.is_empty() && fs::read(&to).unwrap() == expected, "{via}");
        // It says that it has a page.
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
fn a_person_is_told_which_way_it_went() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    fs::write(&from, pattern(5000)).unwrap();
    let say = |args: &[&str]| {
        let mut command = Command::new(KAREZ);
        let output = command.arg("copy").args(args).arg(&from).arg(&to).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let said = say(&["--via", "splice"]);
    assert!(said.starts_with("1 file, 4.88 KiB in ") && said.contains(": splice, "), "{said}");
    assert!(said.contains("4.88 KiB copied") && said.lines().count() == 1, "{said}");
    assert_eq!(say(&["--quiet"]), "");
    assert!(say(&["--no-clobber"]).starts_with("1 there already"));
}

#[test]
fn a_bar_is_for_terminals_and_for_what_takes_long() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    fs::write(&from, pattern(400 << 10)).unwrap();
    // Every write takes a fifth of a second more than it would.
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
