//! What is written into a directory, replaced, removed and left.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use karez_compress::{Action, Coding, Error, Level, Observer, Options, Silent, precompress};
use std::fs::{self, File, FileTimes, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

const OLD: u64 = 1_500_000_000;
const NEW: u64 = 1_600_000_000;

struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: &[u8], modified: u64) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = File::create(path).unwrap();
        file.write_all(content).unwrap();
        let time = UNIX_EPOCH + Duration::from_secs(modified);
        file.set_times(FileTimes::new().set_modified(time)).unwrap();
    }

    /// Returns all names, sorted.
    fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        collect(self.0.path(), self.0.path(), &mut names);
        names.sort();
        names
    }

    fn options() -> Options {
        Options::new().level(Level::Fast)
    }
}

fn collect(root: &Path, directory: &Path, names: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.symlink_metadata().unwrap().is_dir() {
            true => collect(root, &path, names),
            false => names.push(path.strip_prefix(root).unwrap().display().to_string()),
        }
    }
}

fn text() -> Vec<u8> {
    b"under the desert ".repeat(200)
}

/// Bytes that no encoder makes smaller.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..length).map(|_| byte()).collect()
}

#[test]
fn smaller_files_are_written_with_time_and_permissions() {
    let tree = Tree::new();
    tree.write("a.js", &text(), OLD);
    tree.write("deep/er/b.css", &text(), NEW);
    fs::set_permissions(tree.path("a.js"), Permissions::from_mode(0o4640)).unwrap();
    for skipped in
        ["small.txt", "noise.bin", "picture.png", ".hidden.js", ".git/c.js", "old.tar.gz"]
    {
        let content = match skipped {
            "small.txt" => text()[..1000].to_vec(),
            "noise.bin" => noise(5000),
            _ => text(),
        };
        tree.write(skipped, &content, OLD);
    }
    symlink("a.js", tree.path("link.js")).unwrap();
    symlink("deep", tree.path("link")).unwrap();

    let summary = precompress(tree.0.path(), &Tree::options(), &Silent);
    assert!(summary.is_complete());
    assert_eq!(summary.files, 4);
    for of in &summary.codings {
        assert_eq!((of.written, of.not_smaller, of.current, of.removed), (2, 2, 0, 0), "{of:?}");
        assert_eq!(of.bytes_before, 2 * text().len() as u64);
        assert!(of.bytes_after < of.bytes_before / 10);
    }
    #[rustfmt::skip]
    let expected = [
        ".git/c.js", ".hidden.js", "a.js", "a.js.br", "a.js.gz", "a.js.zst", "deep/er/b.css", "deep/er/b.css.br",
        "deep/er/b.css.gz", "deep/er/b.css.zst", "link", "link.js", "noise.bin", "old.tar.gz", "picture.png",
        "small.txt",
    ];
    assert_eq!(tree.names(), expected);
    for suffix in [".br", ".gz", ".zst"] {
        let packed = tree.path(&format!("a.js{suffix}")).metadata().unwrap();
        assert_eq!((packed.mtime(), packed.mode() & 0o7777), (OLD as i64, 0o640), "{suffix}");
    }
}

#[test]
fn second_run_writes_nothing() {
    let tree = Tree::new();
    tree.write("a.js", &text(), OLD);
    precompress(tree.0.path(), &Tree::options(), &Silent);
    let inode = tree.path("a.js.br").metadata().unwrap().ino();
    let summary = precompress(tree.0.path(), &Tree::options(), &Silent);
    assert!(summary.codings.iter().all(|of| (of.written, of.current) == (0, 1)), "{summary:?}");
    assert_eq!(tree.path("a.js.br").metadata().unwrap().ino(), inode);
}

#[test]
fn older_files_are_replaced_or_removed_and_newer_ones_are_left() {
    let tree = Tree::new();
    tree.write("a.js", &text(), NEW);
    tree.write("a.js.br", b"outdated", OLD);
    tree.write("a.js.gz", b"made by another tool", NEW + 1);
    tree.write("noise.bin", &noise(5000), NEW);
    tree.write("noise.bin.zst", b"outdated", OLD);
    tree.write("short", b"short", NEW);
    tree.write("short.gz", b"outdated", OLD);
    tree.write("alone.gz", b"a download", OLD);

    let dry = Tree::options().dry_run(true);
    let before = tree.names();
    let planned = precompress(tree.0.path(), &dry, &Silent);
    assert_eq!(tree.names(), before);
    assert_eq!(fs::read(tree.path("a.js.br")).unwrap(), b"outdated");

    let summary = precompress(tree.0.path(), &Tree::options(), &Silent);
    assert_eq!(summary, planned);
    assert_eq!(fs::read(tree.path("a.js.gz")).unwrap(), b"made by another tool");
    assert_ne!(fs::read(tree.path("a.js.br")).unwrap(), b"outdated");
    let expected = ["a.js", "a.js.br", "a.js.gz", "a.js.zst", "alone.gz", "noise.bin", "short"];
    assert_eq!(tree.names(), expected);
}

#[test]
fn errors_name_the_file_and_the_rest_is_done() {
    #[derive(Default)]
    struct Errors(Mutex<Vec<String>>);
    impl Observer for Errors {
        fn failed(&self, error: &Error) {
            self.0.lock().unwrap().push(error.to_string());
        }
    }
    let tree = Tree::new();
    tree.write("a.js", &text(), OLD);
    tree.write("b.js", &text(), OLD);
    fs::create_dir(tree.path("a.js.br")).unwrap();
    let errors = Errors::default();
    let options = Tree::options().codings([Coding::Brotli]);
    let summary = precompress(tree.0.path(), &options, &errors);
    assert_eq!((summary.failures, summary.is_complete()), (1, false));
    let errors = errors.0.into_inner().unwrap();
    assert!(errors[0].starts_with("lstat ") && errors[0].contains("a.js.br"), "{errors:?}");
    assert!(tree.path("b.js.br").exists());

    let missing = precompress(&tree.path("none"), &options, &Silent);
    assert_eq!(missing.failures, 1);
}

/// The file is changed by its reader, between two reads of the encoder.
#[test]
fn file_that_changes_meanwhile_is_an_error() {
    struct Writer(PathBuf);
    impl Observer for Writer {
        fn advanced(&self, _: u64) {
            let mut file = File::options().append(true).open(&self.0).unwrap();
            file.write_all(b"more").unwrap();
            // The size is put back, so that only the times differ.
            let length = file.metadata().unwrap().len();
            file.set_len(length - 4).unwrap();
        }
    }
    for coding in Coding::ALL {
        let tree = Tree::new();
        tree.write("a.js", &text(), OLD);
        let options = Tree::options().codings([coding]);
        let summary = precompress(tree.0.path(), &options, &Writer(tree.path("a.js")));
        assert_eq!(summary.failures, 1, "{coding:?}");
        assert_eq!(tree.names(), ["a.js"], "{coding:?}");
    }
}

#[test]
fn stopped_work_leaves_no_temporary_file() {
    #[derive(Default)]
    struct Stop(AtomicBool);
    impl Observer for Stop {
        fn advanced(&self, _: u64) {
            self.0.store(true, Ordering::Relaxed);
        }
        fn done(&self, _: &Path, _: Coding, action: Action) {
            assert!(!matches!(action, Action::Written { .. }));
        }
        fn should_stop(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }
    }
    let tree = Tree::new();
    for number in 0..50 {
        tree.write(&format!("{number}.js"), &text(), OLD);
    }
    let before = tree.names();
    let summary = precompress(tree.0.path(), &Tree::options(), &Stop::default());
    assert!(summary.stopped && !summary.is_complete());
    assert_eq!(tree.names(), before);
}
