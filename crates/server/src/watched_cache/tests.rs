//! The cache against a real directory, with writers in threads and in other processes.

#![allow(clippy::print_stdout, reason = "a skipped test says why")]

mod bookkeeping;
mod changes;
mod event_loop;
mod hammer;
mod insertion;
mod limits;
mod mounts;
mod writers;

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use super::{Expected, Limits, NotWatchable, Reason, WatchedCache};

/// A file as it was when its value was made.
#[derive(Debug, PartialEq, Eq)]
struct Version {
    content: String,
    inode: u64,
    mode: u32,
}

/// A value: the version, and the descriptor that pins the file.
#[derive(Debug)]
struct Value {
    version: Version,
    _file: File,
}

/// A temporary directory, and a cache of what is in it.
struct Ground {
    outer: PathBuf,
    /// Removes the directory at last.
    _owner: Option<tempfile::TempDir>,
    cache: WatchedCache<Value>,
}

impl Ground {
    /// None, with a message, where the file system of temporary files is refused.
    fn new() -> Option<Self> {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Option<Self> {
        let owner = tempfile::tempdir().unwrap();
        let ground = Self::at(owner.path(), limits)?;
        Some(Self { _owner: Some(owner), ..ground })
    }

    fn at(directory: &Path, limits: Limits) -> Option<Self> {
        let outer = directory.canonicalize().unwrap();
        let mut ground = Self { outer, _owner: None, cache: WatchedCache::new(limits).unwrap() };
        ground.write("probe", "");
        match ground.keep("probe") {
            Err(refusal) if matches!(refusal.reason(), Reason::FileSystem(_) | Reason::Denied) => {
                println!("skipped: {refusal}");
                return None;
            }
            _ => ground.cache.clear(),
        }
        fs::remove_file(ground.path("probe")).unwrap();
        ground.cache.drain();
        Some(ground)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.outer.join(name)
    }

    /// Writes a file, and the directories that it needs.
    fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn link(&self, target: &str, name: &str) {
        std::os::unix::fs::symlink(target, self.path(name)).unwrap();
    }

    /// Inserts a file under its name, as long as it has no precompressed sibling.
    fn keep(&mut self, name: &str) -> Result<(), NotWatchable> {
        let path = self.path(name);
        keep(&mut self.cache, name, &path)
    }

    /// Inserts a file without interference from elsewhere on the host.
    fn kept(&mut self, name: &str) {
        self.keep(name).unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
        assert!(self.hit(name).is_some(), "{name}");
    }

    /// Returns what a request would get from the cache.
    fn hit(&mut self, name: &str) -> Option<&Version> {
        self.cache.drain();
        self.cache.get(name.as_bytes()).map(|entry| &entry.value().version)
    }

    /// Asserts that a change drops nothing. The host may change its mounts meanwhile, which drops
    /// everything, so of three attempts one has to succeed.
    fn survives(&mut self, name: &str, what: &str, mut change: impl FnMut(&Self)) {
        let survived = (0..3).any(|_| {
            self.kept(name);
            change(self);
            self.hit(name).is_some()
        });
        assert!(survived, "{what} dropped {name}");
    }

    /// Runs a script in the directory, to its end.
    fn sh(&self, script: &str) {
        let status = Command::new("sh").args(["-ec", script]).current_dir(&self.outer).status();
        assert!(status.unwrap().success(), "{script}");
    }
}

fn keep(cache: &mut WatchedCache<Value>, key: &str, path: &Path) -> Result<(), NotWatchable> {
    let missing = |error: io::Error| NotWatchable::new(Reason::Value(error), b"");
    let file = File::open(path).map_err(missing)?;
    let siblings = [".zst", ".br", ".gz"].map(|suffix| {
        let mut sibling = path.as_os_str().to_owned();
        sibling.push(suffix);
        sibling
    });
    let mut expected = vec![Expected::File(path.as_os_str().as_bytes(), file.as_fd())];
    expected.extend(siblings.iter().map(|sibling| Expected::Absent(sibling.as_bytes())));
    let opened = file.try_clone().map_err(missing)?;
    let made = cache.insert(key.as_bytes(), &expected, Instant::now(), |walk| {
        assert_eq!(walk.meta(0).unwrap().stx_ino, opened.metadata()?.ino());
        Ok(Value { version: version(&opened)?, _file: opened })
    });
    made.map(|_| ())
}

/// Reads a version from a descriptor.
fn version(file: &File) -> io::Result<Version> {
    let meta = file.metadata()?;
    let mut bytes = vec![0; usize::try_from(meta.len()).unwrap()];
    let length = file.read_at(&mut bytes, 0)?;
    let content = String::from_utf8_lossy(&bytes[..length]).into_owned();
    Ok(Version { content, inode: meta.ino(), mode: meta.mode() })
}

/// Returns the version that a request would have to get, by looking it all up.
fn truth(path: &Path) -> Option<Version> {
    let sibling = |suffix: &str| {
        let mut sibling = path.as_os_str().to_owned();
        sibling.push(suffix);
        fs::metadata(sibling).is_ok()
    };
    if [".zst", ".br", ".gz"].iter().any(|suffix| sibling(suffix)) {
        return None;
    }
    version(&File::open(path).ok()?).ok()
}

/// Returns the number of watches that the kernel counts.
fn kernel_watches<V>(cache: &WatchedCache<V>) -> usize {
    let number = cache.dependencies.inotify().as_raw_fd();
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap();
    info.lines().filter(|line| line.starts_with("inotify wd:")).count()
}

/// A process that makes changes on command and confirms each after its completion.
struct Writer {
    process: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Writer {
    /// None, with a message, where there is no Python.
    fn start(directory: &Path) -> Option<Self> {
        let program = include_str!("tests/writer.py");
        let spawned = Command::new("python3")
            .args(["-c", program])
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut process) = spawned else {
            println!("skipped: python3 does not run");
            return None;
        };
        let commands = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        Some(Self { process, commands, answers })
    }

    /// Makes a change, and returns the answer: `ok`, or `failed: why`.
    fn run(&mut self, command: &str) -> String {
        self.send(command);
        self.answer()
    }

    /// Starts a change.
    fn send(&mut self, command: &str) {
        writeln!(self.commands, "{command}").unwrap();
    }

    /// Waits for the next answer.
    fn answer(&mut self) -> String {
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert!(answer.ends_with('\n'), "the writer ended");
        answer.trim_end().to_owned()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ended_already = self.process.kill();
        let _status = self.process.wait();
    }
}

/// A generator of numbers, the same in every run (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((number ^ (number >> 31)) >> 33).unwrap() % bound
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs one test of this program again in new namespaces.
fn run_in_namespaces(arguments: &[&str], test: &str) {
    run_again("unshare", &[arguments, &["--"]].concat(), test);
}

/// Runs one test of this program again by another program, with `AGAIN` set, and prints why if that
/// is not possible. Returns whether it ran.
fn run_again(program: &str, arguments: &[&str], test: &str) -> bool {
    let ran = Command::new(program)
        .args(arguments)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("watched_cache::tests::{test}"), "--nocapture"])
        .env(AGAIN, "1")
        .output();
    match ran {
        Ok(output) => {
            let (text, errors) = (output.stdout, output.stderr);
            let (text, errors) = (String::from_utf8_lossy(&text), String::from_utf8_lossy(&errors));
            print!("{text}");
            let ran = text.contains("running 1 test");
            assert!(!ran || output.status.success(), "{text}{errors}");
            if !ran {
                println!("skipped: {program}: {errors}");
            }
            ran
        }
        Err(error) => {
            println!("skipped: {program}: {error}");
            false
        }
    }
}

fn is_again() -> bool {
    std::env::var_os(AGAIN).is_some()
}

const AGAIN: &str = "KAREZ_TEST_AGAIN";
