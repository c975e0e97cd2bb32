//! Real fallbacks: files and file systems that do not support a via, and a process
//! that has no descriptor left.

use karez_transfer::{Edit, Fallback, Progress, Reason, Via};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::process::Command;
use std::sync::Arc;
use std::{env, io::Read as _};

use crate::case::{Case, Transport};
use crate::random::{Random, pattern};
use crate::stage::{DISK, Outcome, Plan, Stage};

const MEMORY: &str = "/dev/shm";

fn to_files() -> impl Iterator<Item = Case> {
    Case::all().into_iter().filter(|case| case.of_file() && case.to_file())
}

fn done(stage: Stage, content: &[u8], what: &str) -> Outcome {
    let outcome = stage.run(&mut Random::of(1));
    assert!(
        matches!(outcome.end, Ok(Progress::Done)),
        "{what}: {:?} {:?}",
        outcome.end,
        outcome.report
    );
    assert!(outcome.received == content, "{what}: {:?}", outcome.report);
    outcome
}

fn refused(from: Via, reason: impl Into<Reason>) -> Fallback {
    Fallback::new(from, reason, 0)
}

#[test]
fn a_file_open_for_appending_is_written_to_by_copy() {
    let content = pattern(200_000, 31);
    let cases = Case::all().into_iter().filter(|case| case.to_file() && case.blocking);
    for case in cases {
        let source = Arc::new(tempfile::tempfile_in(DISK).unwrap());
        source.write_all_at(&content, 0).unwrap();
        let named = tempfile::NamedTempFile::new_in(DISK).unwrap();
        let sink = File::options().read(true).append(true).open(named.path()).unwrap();
        let stage = Plan::new(case, content.clone()).between(source, Arc::new(sink));
        let report = done(stage, &content, &case.to_string()).report;
        let fallbacks = &report.fallbacks[..];
        match case.via {
            Via::Sendfile => {
                assert_eq!(fallbacks, [refused(case.via, Reason::Appending)], "{case}");
                assert_eq!(report.effective, Via::Copy, "{case}");
            }
            Via::Splice => {
                assert_eq!(fallbacks, [refused(case.via, Errno::INVAL)], "{case}");
                assert_eq!(report.effective, Via::Copy, "{case}");
            }
            Via::CopyRange => {
                let twice =
                    [refused(case.via, Errno::BADF), refused(Via::Sendfile, Reason::Appending)];
                assert_eq!(fallbacks, twice, "{case}");
                assert_eq!(report.effective, Via::Copy, "{case}");
            }
            _ => {}
        }
    }
}

#[test]
fn across_file_systems_the_kernel_copies_otherwise() {
    let Ok(sink) = tempfile::tempfile_in(MEMORY) else {
        println!("skipped: there is no {MEMORY}");
        return;
    };
    let sink = Arc::new(sink);
    let content = pattern(200_000, 32);
    let source = Arc::new(tempfile::tempfile_in(DISK).unwrap());
    source.write_all_at(&content, 0).unwrap();
    let device = |file: &File| rustix::fs::fstat(file).unwrap().st_dev;
    if device(&source) == device(&sink) {
        println!("skipped: {MEMORY} and {DISK} are one file system");
        return;
    }
    let run = |via| {
        let case = Case::new(karez_transfer::Direction::FileToFile, via, Transport::Unix, true);
        let stage = Plan::new(case, content.clone()).between(source.clone(), sink.clone());
        done(stage, &content, via.name()).report
    };
    let report = run(Via::CopyRange);
    assert_eq!(report.fallbacks, [refused(Via::CopyRange, Errno::XDEV)]);
    assert_eq!(report.effective, Via::Sendfile);
    // A permanent error is cached: the next chain is shorter.
    let report = run(Via::Reflink);
    assert_eq!((report.fallbacks.len(), report.effective), (1, Via::Sendfile), "{report:?}");
    let report = run(Via::Auto);
    assert_eq!((report.fallbacks.len(), report.effective), (0, Via::Sendfile), "{report:?}");
}

#[test]
fn a_clone_is_made_or_refused_once_for_a_file_system() {
    for files in [DISK, MEMORY] {
        let Ok(_there) = tempfile::tempfile_in(files) else {
            println!("skipped: there is no {files}");
            continue;
        };
        let content = pattern(64 << 10, 33);
        for case in to_files().filter(|case| case.via == Via::Reflink) {
            let plan = Plan { files, ..Plan::new(case, content.clone()) };
            let report = done(plan.stage(), &content, files).report;
            match report.fallbacks.first() {
                None => assert_eq!((report.effective, report.calls.ioctl), (Via::Reflink, 1)),
                Some(first) => {
                    assert!(
                        first
                            .errno()
                            .is_some_and(|errno| [Errno::OPNOTSUPP, Errno::NOTTY].contains(&errno)),
                        "{report:?}"
                    );
                    assert_eq!((first.from, first.after), (Via::Reflink, 0));
                    assert_ne!(report.effective, Via::Reflink);
                }
            }
        }
    }
}

#[test]
fn every_via_works_in_memory_too() {
    let content = pattern(300_001, 34);
    for case in Case::all().into_iter().filter(|case| case.blocking) {
        if tempfile::tempfile_in(MEMORY).is_err() {
            println!("skipped: there is no {MEMORY}");
            return;
        }
        let plan = Plan { files: MEMORY, source_at: 5, ..Plan::new(case, content.clone()) };
        let report = done(plan.stage(), &content, &case.to_string()).report;
        if case.via == Via::Direct {
            println!("O_DIRECT in {MEMORY}: {:?}", report.fallbacks);
        }
    }
}

/// Files that are made as they are read, of which the kernel knows no pages.
fn of_a_made_up_file(path: &str, vias: &[(Via, Reason)]) {
    let mut content = Vec::new();
    if File::open(path).and_then(|mut file| file.read_to_end(&mut content)).is_err() {
        println!("skipped: there is no {path}");
        return;
    }
    for &(via, reason) in vias {
        for case in Case::all().into_iter().filter(|case| case.of_file() && case.via == via) {
            if via == Via::Zerocopy && case.transport == Transport::Unix {
                continue; // refused for another reason
            }
            let source = Arc::new(File::open(path).unwrap());
            let sink = Arc::new(tempfile::tempfile_in(DISK).unwrap());
            let stage = Plan::new(case, content.clone()).between(source, sink);
            let report = done(stage, &content, &format!("{path}, {case}")).report;
            match report.fallbacks.first() {
                Some(first) => assert_eq!(*first, refused(via, reason), "{path}, {case}"),
                None => println!("skipped: this kernel has {via} for {path}"),
            }
        }
    }
}

#[test]
fn files_without_splice_are_read() {
    let refusals = [Via::Sendfile, Via::Splice, Via::Direct].map(|via| (via, Errno::INVAL.into()));
    of_a_made_up_file("/proc/self/auxv", &refusals);
}

/// fstat reports a size of 0 for such a file, but a read returns bytes.
#[test]
fn files_without_a_size_are_read() {
    let refusals = [Via::Mmap, Via::Cow, Via::Zerocopy, Via::Reflink];
    of_a_made_up_file("/proc/self/auxv", &refusals.map(|via| (via, Reason::EarlyEnd)));
}

/// Linux 6.16 lets it be mapped privately, and refuses a shared mapping with EACCES.
#[test]
fn files_without_shared_mappings_are_read() {
    of_a_made_up_file("/sys/kernel/btf/vmlinux", &[(Via::Mmap, Errno::ACCESS.into())]);
}

#[test]
fn files_without_mappings_are_read() {
    let refusals = [Via::Mmap, Via::Cow, Via::Zerocopy].map(|via| (via, Errno::NODEV.into()));
    of_a_made_up_file("/sys/kernel/mm/transparent_hugepage/enabled", &refusals);
}

#[test]
fn without_a_free_descriptor_it_falls_back() {
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", "refusals::poor", "--ignored", "--nocapture", "--test-threads=1"]);
    let out = child.env("KAREZ_POOR", "1").output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
}

/// The child, because the limit belongs to a process.
#[test]
#[ignore = "another test runs it in a process of its own"]
fn poor() {
    if env::var("KAREZ_POOR").is_err() {
        println!("skipped: it is for another test");
        return;
    }
    let content = pattern(300_000, 35);
    let wanting = [Via::Splice, Via::Cow, Via::Direct];
    for case in Case::all().into_iter().filter(|case| wanting.contains(&case.via)) {
        let mut plan = Plan::new(case, content.clone());
        let mut expected = content.clone();
        if case.via == Via::Cow {
            expected[9..14].copy_from_slice(b"edits");
            plan.edits = Some([Edit { offset: 9, bytes: Arc::from(*b"edits") }].into());
        }
        let stage = plan.stage();
        let limit = getrlimit(Resource::Nofile);
        let next = File::open("/dev/null").unwrap().as_raw_fd();
        let none = Rlimit { current: Some(next as u64), ..limit };
        let outcome = stage.run_with(&mut Random::of(1), |stage, chance| {
            setrlimit(Resource::Nofile, none).unwrap();
            let end = stage.drive(chance);
            setrlimit(Resource::Nofile, limit).unwrap();
            end
        });
        assert_eq!(outcome.end.unwrap(), Progress::Done, "{case}");
        assert!(outcome.received == expected, "{case}: {:?}", outcome.report);
        let fallbacks = &outcome.report.fallbacks;
        assert_eq!(fallbacks[..], [refused(case.via, Errno::MFILE)], "{case}");
        assert_eq!(outcome.report.effective, Via::Copy, "{case}");
    }
}
