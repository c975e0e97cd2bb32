//! Failing queries of the page cache, and failing requests not to keep pages in it.
//! An older kernel, a file system without the query, and a sandbox that forbids it never make
//! a transfer fail, and never make a step block that must not.
//!
//! Each child runs a test of this program behind a seccomp(2) filter for `cachestat`, which
//! few versions of strace know, and under strace for the others.

use karez_sys::Mapping;
use karez_transfer::{CachePolicy, Direction, Fallback, OnMiss, Progress, Report, Settings, Via};
use rustix::fs::{Advice, fadvise, fdatasync};
use rustix::io::Errno;
use std::env;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::process::{Command, Output};

use crate::case::Case;
use crate::random::{Random, pattern};
use crate::stage::{Outcome, Plan};
use crate::tracer::{SPARED, spare};

const LEN: usize = (2 << 20) + 7;

/// Runs the command that follows its first word under seccomp(2), with a filter of four
/// instructions: load the number of the call; if it is 451, cachestat(2) on every architecture but
/// one, return this errno; else allow it. Shows first that the filter does its work.
const DENY: &str = r#"
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
CACHESTAT, errno = 451, int(sys.argv[1])
code = b"".join(struct.pack("HBBI", *one) for one in [
    (0x20, 0, 0, 0), (0x15, 0, 1, CACHESTAT), (0x06, 0, 0, 0x50000 | errno),
    (0x06, 0, 0, 0x7fff0000)])
kept = ctypes.create_string_buffer(code)
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(kept)))
zero = ctypes.c_ulong(0)
for call in [(38, ctypes.c_ulong(1), zero, zero, zero),            # PR_SET_NO_NEW_PRIVS
             (22, ctypes.c_ulong(2), program, zero, zero)]:        # PR_SET_SECCOMP, a filter
    if libc.prctl(*call):
        sys.exit("prctl: " + os.strerror(ctypes.get_errno()))
if libc.syscall(CACHESTAT, 0, None, None, 0) != -1 or ctypes.get_errno() != errno:
    sys.exit("the filter does nothing")
os.execvp(sys.argv[2], sys.argv[2:])
"#;

/// The calls that fail in a child.
#[derive(Clone, Copy, Default)]
struct Refused<'a> {
    cachestat: Option<Errno>,
    /// As strace writes it: `preadv2:error=EPERM`.
    others: &'a [&'a str],
}

impl Refused<'_> {
    /// The words in front of a command that is to be refused that.
    fn words(self) -> Vec<String> {
        let mut words = Vec::new();
        if let Some(errno) = self.cachestat {
            words
                .extend(["python3", "-c", DENY, &errno.raw_os_error().to_string()].map(Into::into));
        }
        if !self.others.is_empty() {
            words.extend(["strace", "-f", "-qq", "-o", "/dev/null"].map(str::to_owned));
            let names = self.others.iter().map(|one| one.split(':').next().unwrap());
            words.extend([
                "-e".to_owned(),
                format!("trace={}", names.collect::<Vec<_>>().join(",")),
            ]);
            for other in self.others {
                words.extend(["-e".to_owned(), format!("inject={other}")]);
            }
        }
        words
    }

    fn run(self, command: &[&str], envs: &[(&str, &str)]) -> std::io::Result<Output> {
        let mut words = self.words();
        words.extend(command.iter().map(|&word| word.to_owned()));
        let mut command = Command::new(&words[0]);
        // An interpreter may warn of a locale that is not installed.
        command.args(&words[1..]).env("LC_ALL", "C").envs(envs.iter().copied()).output()
    }

    /// Runs one of the tests below behind that; false, and why, where it cannot be refused.
    fn holds(self, test: &str, expected: &str) -> bool {
        match self.run(&["true"], &[]) {
            Ok(output) if output.status.success() => {}
            other => {
                println!("skipped: python3 with seccomp, or strace: {other:?}");
                return false;
            }
        }
        let program = env::current_exe().unwrap().into_os_string().into_string().unwrap();
        let name = format!("sandbox::{test}");
        let flags = ["--exact", &name, "--ignored", "--nocapture", "--test-threads=1"];
        let out = self.run(&[&[&*program], &flags[..]].concat(), &[("KAREZ_DENIED", expected)]);
        let out = out.unwrap();
        let said = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
        assert!(
            out.status.success() && said.contains("1 passed"),
            "{}: {said}",
            self.words().join(" ")
        );
        true
    }
}

/// The argument of the parent; none if this is not a child.
fn expected() -> Option<String> {
    let expected = env::var("KAREZ_DENIED").ok();
    if expected.is_none() {
        println!("skipped: it is for another test");
    }
    expected
}

/// Evicts the pages of the file; false if they have no disk. mincore(2) counts the pages, because a read
/// would start read-ahead.
fn evict(file: &File) -> bool {
    fdatasync(file).unwrap();
    let length = file.metadata().unwrap().len() as usize;
    let evicted = || {
        fadvise(file, 0, None, Advice::DontNeed).unwrap();
        Mapping::of(file.as_fd(), 0, length).unwrap().resident_pages() == Ok(0)
    };
    (0..100).any(|_| evicted())
}

/// Moves a file by steps that report misses, and runs only the page-ins; returns how often a step
/// reported a miss.
fn moved_without_waiting(case: Case, cold: bool) -> (Report, u32) {
    let content = pattern(LEN, 61);
    let settings = Settings::from(case.via).on_miss(OnMiss::Report);
    let stage = Plan { settings, ..Plan::new(case, content.clone()) }.stage();
    assert!(!cold || evict(&stage.source), "{case}");
    let mut told = 0;
    let outcome = stage.run_with(&mut Random::of(1), |stage, _| {
        loop {
            match stage.step()? {
                Progress::NeedsWorker => {
                    told += 1;
                    stage.warm()?;
                }
                Progress::Moved(_) | Progress::NeedsZerocopyCompletion => {}
                end => return Ok(end),
            }
        }
    });
    assert_eq!(outcome.end.unwrap(), Progress::Done, "{case}: {:?}", outcome.report);
    assert!(outcome.received == content, "{case}");
    // A failed query is not a fallback.
    let refused = outcome.report.fallbacks.iter().filter(|fallback| fallback.from != Via::Reflink);
    let on_unix = case.via == Via::Zerocopy && case.transport == crate::case::Transport::Unix;
    assert!(refused.count() == usize::from(on_unix), "{case}: {:?}", outcome.report);
    (outcome.report, told)
}

/// The cases that query the page cache.
fn asking() -> impl Iterator<Item = Case> {
    Case::all().into_iter().filter(|case| {
        case.of_file() && case.blocking && ![Via::Direct, Via::Reflink].contains(&case.via)
    })
}

#[test]
fn without_cachestat_mincore_tells() {
    if !evict(&on_disk()) {
        println!("skipped: files are in memory here");
        return;
    }
    let refused = Refused { cachestat: Some(Errno::NOSYS), others: &[] };
    refused.holds("misses_reported", "mincore");
}

#[test]
fn where_cachestat_is_forbidden_some_pages_are_asked_for() {
    if !evict(&on_disk()) {
        println!("skipped: files are in memory here");
        return;
    }
    let refused = Refused { cachestat: Some(Errno::PERM), others: &[] };
    refused.holds("misses_reported", "preadv2");
    // And if those fail, mincore is called.
    for errno in ["EPERM", "EOPNOTSUPP", "ENOSYS"] {
        let others = [format!("preadv2:error={errno}")];
        let refused = Refused { others: &[&others[0]], ..refused };
        refused.holds("misses_reported", "mincore");
    }
}

#[test]
fn where_reading_without_waiting_is_refused_the_cache_is_asked() {
    if !evict(&on_disk()) {
        println!("skipped: files are in memory here");
        return;
    }
    for errno in ["EOPNOTSUPP", "ENOSYS", "EPERM", "EINVAL"] {
        let others = [format!("preadv2:error={errno}")];
        let refused = Refused { others: &[&others[0]], ..Refused::default() };
        refused.holds("misses_reported", "cachestat");
    }
}

#[test]
fn without_a_query_no_page_counts_as_resident() {
    for cachestat in [Errno::NOSYS, Errno::PERM] {
        let others = ["preadv2:error=EPERM", "mincore:error=EPERM"];
        Refused { cachestat: Some(cachestat), others: &others }.holds("all_misses", "nobody");
    }
}

fn on_disk() -> File {
    let file = tempfile::tempfile_in(crate::stage::DISK).unwrap();
    rustix::io::pwrite(&file, b"water", 0).unwrap();
    file
}

#[test]
#[ignore = "the other tests run it where questions are refused"]
fn misses_reported() {
    let Some(by) = expected() else { return };
    for case in asking() {
        let (report, told) = moved_without_waiting(case, false);
        assert_eq!(told, 0, "{case} is in memory: {report:?}");
        // A miss with RWF_NOWAIT starts read-ahead. If the thread is preempted until that has ended, the
        // same call finds the page: once in a thousand calls on a loaded machine.
        let mut attempts = (0..20).map(|_| moved_without_waiting(case, true));
        let (report, _) = attempts.find(|moved| moved.1 > 0).expect("a cold file is reported");
        let told_by = report.calls.iter().find(|call| call.0 == by).map_or(0, |call| call.1);
        // `copy` reads only resident bytes, and queries the cache only if it must.
        let reads = report.effective == Via::Copy || case.via == Via::Auto;
        assert!(told_by > 0 || reads, "{case}: {report:?}");
    }
}

#[test]
#[ignore = "another test runs it where questions are refused"]
fn all_misses() {
    if expected().is_none() {
        return;
    }
    for case in asking() {
        let (report, told) = moved_without_waiting(case, false);
        // As often as it takes to see that it does not help.
        assert_eq!(told, 3, "{case}: {report:?}");
    }
}

/// The errnos that a kernel, a file system or a sandbox may have for `RWF_DONTCACHE`.
const REFUSALS: [(&str, Errno); 4] = [
    ("EOPNOTSUPP", Errno::OPNOTSUPP),
    ("EINVAL", Errno::INVAL),
    ("ENOSYS", Errno::NOSYS),
    ("EPERM", Errno::PERM),
];

#[test]
fn without_dontcache_pages_are_dropped_behind() {
    for (name, errno) in REFUSALS {
        // All reads, and all writes; of the first and of one in the midst.
        for call in ["preadv2", "pwritev2"] {
            for place in ["1+", "3+"] {
                let others = [format!("{call}:error={name}:when={place}")];
                let refused = Refused { others: &[&others[0]], ..Refused::default() };
                let errno = errno.raw_os_error().to_string();
                if !refused.holds("dropped", &format!("{call} {errno}")) {
                    return;
                }
            }
        }
    }
}

/// The step returns the result of a direct read that a worker has made, from the
/// byte reached; the first of them may be refused with any error.
#[test]
fn a_failed_read_of_a_worker_fails_the_step() {
    for errno in ["EINVAL", "EIO"] {
        // The first of them, and the second.
        for place in [SPARED + 1, SPARED + 2] {
            let others = [format!("pread64:error={errno}:when={place}")];
            let refused = Refused { others: &[&others[0]], ..Refused::default() };
            let after = (place - SPARED - 1) * BLOCK as usize;
            if !refused.holds("read_by_a_worker", &format!("{errno} {after}")) {
                return;
            }
        }
    }
}

/// The bytes of one direct read.
const BLOCK: u32 = 512 << 10;

#[test]
#[ignore = "another test runs it where a read fails"]
fn read_by_a_worker() {
    let Some(expected) = expected() else { return };
    let (errno, after) = expected.split_once(' ').unwrap();
    let after = after.parse().unwrap();
    let direct = |case: &Case| case.via == Via::Direct && case.blocking;
    for case in Case::all().into_iter().filter(direct) {
        let (report, errors) = std::thread::spawn(move || stepped_on(case)).join().unwrap();
        if report.calls.open == 0 {
            println!("skipped: no O_DIRECT here");
            return;
        }
        let number = if errno == "EIO" { Errno::IO } else { Errno::INVAL };
        if errno == "EIO" && after > 0 {
            assert_eq!(errors, [(Errno::IO, after)], "{case}: {report:?}");
            assert_eq!((report.effective, report.fallbacks.len()), (Via::Direct, 0), "{case}");
        } else {
            assert_eq!(errors, [], "{case}: {report:?}");
            let refused = Fallback::new(Via::Direct, number, after);
            assert_eq!(
                (report.effective, &report.fallbacks[..]),
                (Via::Copy, &[refused][..]),
                "{case}"
            );
        }
    }
}

/// Notes errors, each with the bytes moved until then, and steps on.
fn stepped_on(case: Case) -> (Report, Vec<(Errno, u64)>) {
    let content = pattern(LEN, 64);
    let settings = Settings::from(case.via).on_miss(OnMiss::Report).chunk(BLOCK);
    let stage = Plan { settings, ..Plan::new(case, content.clone()) }.stage();
    spare(&stage.source);
    let mut errors = Vec::new();
    let outcome = stage.run_with(&mut Random::of(1), |stage, _| {
        loop {
            match stage.step() {
                Ok(Progress::NeedsWorker) => stage.warm()?,
                Ok(Progress::Moved(_)) => {}
                Ok(end) => return Ok(end),
                Err(error) => {
                    let errno = Errno::from_raw_os_error(error.raw_os_error().unwrap());
                    errors.push((errno, stage.moving.report().bytes));
                    assert!(errors.len() < 3, "{errors:?}");
                }
            }
        }
    });
    assert_eq!(outcome.end.unwrap(), Progress::Done, "{case}");
    assert!(outcome.received == content, "{case}");
    (outcome.report, errors)
}

fn uncached(case: Case) -> Outcome {
    let content = pattern(LEN, 62);
    let settings = Settings::from(case.via).cache(CachePolicy::Uncached);
    let outcome =
        Plan { settings, ..Plan::new(case, content.clone()) }.stage().run(&mut Random::of(1));
    assert!(matches!(outcome.end, Ok(Progress::Done)), "{case}: {:?}", outcome.end);
    assert!(outcome.received == content, "{case}");
    outcome
}

#[test]
#[ignore = "another test runs it where RWF_DONTCACHE is refused"]
fn dropped() {
    let Some(expected) = expected() else { return };
    let (call, errno) = expected.split_once(' ').unwrap();
    let errno = Errno::from_raw_os_error(errno.parse().unwrap());
    // A thread of its own, for strace counts by thread.
    let by_copy = |case: &Case| case.via == Via::Copy && case.blocking;
    for case in Case::all().into_iter().filter(by_copy) {
        let outcome = std::thread::spawn(move || uncached(case)).join().unwrap();
        let report = &outcome.report;
        let made = if call == "preadv2" { case.of_file() } else { case.to_file() };
        assert_eq!(
            (report.effective, report.fallbacks.len()),
            (Via::Copy, 0),
            "{case}: {report:?}"
        );
        if !made {
            assert!(report.cache_refused != Some(errno) || report.cache == CachePolicy::Drop);
            continue;
        }
        assert_eq!(report.cache, CachePolicy::Drop, "{case}: {report:?}");
        // This kernel may refuse the other call first.
        let refused = report.cache_refused.unwrap();
        assert!([errno, Errno::OPNOTSUPP].contains(&refused), "{case}: {report:?}");
        let plain = (report.calls.pread64, report.calls.pwrite64);
        assert!(!case.of_file() || plain.0 > 0, "{case}: {report:?}");
        assert!(!case.to_file() || plain.1 > 0, "{case}: {report:?}");
    }
}

/// As it comes: where a file system knows nothing of it, that is said.
#[test]
fn a_file_system_without_it_is_reported() {
    let in_memory = Case::new(Direction::FileToFile, Via::Copy, crate::case::Transport::Unix, true);
    let settings = Settings::from(in_memory.via).cache(CachePolicy::Uncached);
    let content = pattern(LEN, 63);
    let plan = Plan { settings, files: "/dev/shm", ..Plan::new(in_memory, content.clone()) };
    if tempfile::tempfile_in(plan.files).is_err() {
        println!("skipped: there is no {}", plan.files);
        return;
    }
    let outcome = plan.stage().run(&mut Random::of(1));
    assert!(outcome.received == content);
    let report = outcome.report;
    match report.cache_refused {
        Some(errno) => assert_eq!((report.cache, errno), (CachePolicy::Drop, Errno::OPNOTSUPP)),
        None => assert_eq!(report.cache, CachePolicy::Uncached, "{report:?}"),
    }
}
