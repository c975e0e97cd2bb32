//! Each via of `karez copy` proved by a trace, and each fallback forced, at the first call and in
//! the middle.

use karez_transfer::Via;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::copy::{Outcome, command, copy, names, vias};
use crate::disk_image::Image;
use crate::files::pattern;
use crate::strace::{self, Call, name, ordinal, returned};

const SIZE: usize = (35 << 20) + 7;

/// The calls that move bytes of files.
const MOVING: [&str; 9] = [
    "copy_file_range",
    "sendfile",
    "splice",
    "pread64",
    "preadv2",
    "pwrite64",
    "pwritev2",
    "mmap",
    "ioctl",
];

/// A directory with a source file, and the paths of source and target.
fn root() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    fs::write(&from, pattern(SIZE)).unwrap();
    (root, from, to)
}

/// Returns the calls that moved bytes after the target was opened, with their byte counts.
fn moved(calls: &[Call]) -> Vec<(&str, u64)> {
    let begin = calls.iter().position(|call| call.contains("O_TMPFILE")).unwrap();
    let end = calls.iter().rposition(|call| name(call) == "linkat").unwrap();
    let calls = &calls[begin..end];
    let mut moved = Vec::new();
    for moving in MOVING {
        let these = calls.iter().filter(|call| name(call) == moving);
        let of_files = these.filter(|call| moving != "mmap" || call.contains("MAP_SHARED"));
        let counts: Vec<_> = of_files.map(|call| returned(call)).collect();
        if !counts.is_empty() {
            let sum = counts.into_iter().filter_map(|count| u64::try_from(count).ok()).sum();
            moved.push((moving, sum));
        }
    }
    moved
}

#[test]
fn each_via_moves_bytes_with_its_own_calls() {
    let (_root, from, to) = root();
    let all = SIZE as u64;
    for via in vias() {
        let command = command(&[&"--via", &via.name(), &from, &to]);
        let Some((output, calls)) = strace::run(&[], &command) else { return };
        fs::remove_file(&to).unwrap();
        let copied = Outcome::of(&output).expect_success();
        let moved = moved(&calls);
        let ways: Vec<_> = moved.iter().map(|(call, _)| *call).collect();
        let sum = |wanted: &str| moved.iter().find(|(call, _)| *call == wanted).unwrap().1;
        let ran = *copied.vias().last().unwrap();
        match via {
            Via::Auto | Via::Reflink if ran == "reflink" => assert_eq!(ways, ["ioctl"], "{via}"),
            Via::Auto | Via::Reflink => {
                assert_eq!(ways, ["copy_file_range", "ioctl"], "{via}");
                assert_eq!((sum("copy_file_range"), sum("ioctl")), (all, 0), "{via}");
            }
            Via::CopyRange => assert_eq!(moved, [("copy_file_range", all)], "{via}"),
            Via::Sendfile => assert_eq!(moved, [("sendfile", all)], "{via}"),
            Via::Splice => assert_eq!(moved, [("splice", 2 * all)], "{via}"),
            Via::Mmap => {
                assert_eq!(ways, ["pwrite64", "mmap"], "{via}");
                assert_eq!(sum("pwrite64"), all, "{via}");
            }
            Via::Copy | Via::Direct => {
                assert_eq!(moved, [("pread64", all), ("pwrite64", all)], "{via}");
            }
            _ => unreachable!("not between files without edits"),
        }
        let past_the_cache =
            calls.iter().any(|call| call.split('|').any(|flag| flag == "O_DIRECT"));
        assert_eq!(past_the_cache, via == Via::Direct, "{via}");
        expect_counted(&copied, &calls);
    }
}

/// Expects the report to count the same calls as the trace.
fn expect_counted(copied: &Outcome, calls: &[Call]) {
    let begin = calls.iter().position(|call| call.contains("O_TMPFILE")).unwrap();
    for (call, count) in copied.json["calls"].as_object().unwrap() {
        // The runtime makes these calls for reasons of its own, too.
        if !["mmap", "fstat", "open", "fcntl"].contains(&&**call) {
            let seen = strace::count(&calls[begin..], call) as u64;
            assert_eq!(count.as_u64().unwrap(), seen, "{call}: {copied:?}");
        }
    }
}

/// One fallback: the via, its call and words that identify it, the number of bytes one call moves,
/// and the next via.
struct Fallback {
    via: Via,
    call: &'static str,
    words: &'static [&'static str],
    stride: u64,
    next: Via,
}

const FALLBACKS: [Fallback; 6] = [
    Fallback {
        via: Via::CopyRange,
        call: "copy_file_range",
        words: &[],
        stride: 16 << 20,
        next: Via::Sendfile,
    },
    Fallback { via: Via::Sendfile, call: "sendfile", words: &[], stride: 1 << 20, next: Via::Copy },
    // Every second call fills the pipe.
    Fallback { via: Via::Splice, call: "splice", words: &[], stride: 1 << 19, next: Via::Copy },
    Fallback {
        via: Via::Mmap,
        call: "mmap",
        words: &["MAP_SHARED"],
        stride: 4 << 20,
        next: Via::Copy,
    },
    Fallback { via: Via::Mmap, call: "pwrite64", words: &[], stride: 1 << 20, next: Via::Copy },
    Fallback {
        via: Via::Direct,
        call: "pread64",
        words: &["524288"],
        stride: 512 << 10,
        next: Via::Copy,
    },
];

/// Runs a copy whose `nth` call of this kind fails.
fn with_fault(
    args: (&Path, &Path),
    rung: &Fallback,
    nth: usize,
    errno: &str,
) -> Option<(Outcome, Vec<Call>)> {
    let command = command(&[&"--via", &rung.via.name(), &args.0, &args.1]);
    // The dynamic loader makes such calls, too.
    let (_, calls) = strace::run(&[], &command)?;
    fs::remove_file(args.1).unwrap();
    let when = ordinal(&calls, rung.call, rung.words, nth);
    let inject = format!("inject={}:error={errno}:when={when}", rung.call);
    let (output, calls) = strace::run(&["-e", &inject], &command)?;
    assert_eq!(strace::injected(&calls, rung.call), 1, "{inject}");
    Some((Outcome::of(&output), calls))
}

#[test]
fn every_fallback_works_at_the_first_call_and_in_the_middle() {
    let (root, from, to) = root();
    let content = pattern(SIZE);
    for rung in &FALLBACKS {
        for (nth, errno, number) in
            [(1, "EINVAL", 22), (1, "ENOSYS", 38), (2, "EOPNOTSUPP", 95), (3, "EPERM", 1)]
        {
            let Some((copied, _)) = with_fault((&from, &to), rung, nth, errno) else { return };
            let what = format!("{} {nth} {errno}: {copied:?}", rung.call);
            let copied = copied.expect_success();
            assert!(fs::read(&to).unwrap() == content, "{what}");
            let calls_before = nth as u64 - 1;
            // Bytes of a splice count when they have left the pipe.
            let strides = if rung.via == Via::Splice { calls_before / 2 * 2 } else { calls_before };
            let after = strides * rung.stride;
            assert_eq!(copied.fallbacks(), [(rung.via.name(), number, after)], "{what}");
            let ran = copied.vias();
            let next = rung.next.name();
            assert_eq!(ran, if after == 0 { vec![next] } else { vec![rung.via.name(), next] });
            let bytes = &copied.json["vias"][ran.len() - 1]["bytes"];
            assert_eq!(bytes.as_u64().unwrap(), SIZE as u64 - after, "{what}");
            assert_eq!(names(root.path()), ["from", "to"], "{what}");
        }
    }
}

/// Errnos that file servers and drivers return for a missing mechanism; cp(1) knows some of them.
#[test]
fn the_first_use_of_a_via_may_fail_with_any_errno() {
    let (root, from, to) = root();
    let errnos = [
        ("EACCES", 13),
        ("ENOENT", 2),
        ("EIO", 5),
        ("EBUSY", 16),
        ("ETIMEDOUT", 110),
        ("EISDIR", 21),
    ];
    for rung in FALLBACKS.iter().filter(|rung| rung.call != "pwrite64") {
        for (errno, number) in errnos {
            let Some((copied, _)) = with_fault((&from, &to), rung, 1, errno) else { return };
            let copied = copied.expect_success();
            assert!(fs::read(&to).unwrap() == pattern(SIZE), "{} {errno}", rung.call);
            assert_eq!(copied.fallbacks(), [(rung.via.name(), number, 0)], "{copied:?}");
            assert_eq!(copied.vias(), [rung.next.name()], "{copied:?}");
            assert_eq!(names(root.path()), ["from", "to"]);
        }
    }
    let cloning = command(&[&"--via", &"reflink", &from, &to]);
    let Some((_, calls)) = strace::run(&[], &cloning) else { return };
    let when = ordinal(&calls, "ioctl", &["FICLONERANGE"], 1);
    for (errno, number) in errnos {
        let inject = format!("inject=ioctl:error={errno}:when={when}");
        let (output, _) = strace::run(&["-e", &inject], &cloning).unwrap();
        let copied = Outcome::of(&output).expect_success();
        assert_eq!(copied.fallbacks()[0], ("reflink", number, 0), "{copied:?}");
        assert!(fs::read(&to).unwrap() == pattern(SIZE), "{errno}");
    }
}

/// A disk that cannot be read: after the fallback the plain read reports the error.
#[test]
fn read_errors_are_reported_after_fallback() {
    let (root, from, to) = root();
    for rung in FALLBACKS.iter().filter(|rung| ["sendfile", "splice", "mmap"].contains(&rung.call))
    {
        let command = command(&[&"--via", &rung.via.name(), &from, &to]);
        let Some((_, calls)) = strace::run(&[], &command) else { return };
        fs::remove_file(&to).unwrap();
        let when = ordinal(&calls, rung.call, rung.words, 1);
        let unreadable = "inject=pread64:error=EIO:when=3+"; // the loader reads before
        let inject = format!("inject={}:error=EIO:when={when}", rung.call);
        let (output, _) = strace::run(&["-e", &inject, "-e", unreadable], &command).unwrap();
        let copied = Outcome::of(&output);
        let copied = copied.expect_error(&["copy ", from.to_str().unwrap(), "(os error 5)"]);
        assert_eq!(copied.fallbacks(), [(rung.via.name(), 5, 0)], "{copied:?}");
        assert_eq!(names(root.path()), ["from"]);
    }
}

#[test]
fn whole_fallback_chain_is_used() {
    let (_root, from, to) = root();
    let command = command(&[&from, &to]);
    let inject = ["copy_file_range", "sendfile"].map(|call| format!("inject={call}:error=EXDEV"));
    let flags = ["-e", &inject[0], "-e", &inject[1]];
    let Some((output, _)) = strace::run(&flags, &command) else { return };
    let copied = Outcome::of(&output).expect_success();
    if copied.vias() == ["reflink"] {
        println!("skipped: here files can share their bytes");
        return;
    }
    let from_vias: Vec<_> = copied.fallbacks().iter().map(|each| each.0).collect();
    assert_eq!(from_vias, ["reflink", "copy-range", "sendfile"]);
    assert_eq!(copied.vias(), ["copy"]);
    assert!(fs::read(&to).unwrap() == pattern(SIZE));
}

#[test]
fn interrupted_call_is_repeated() {
    let (_root, from, to) = root();
    for rung in &FALLBACKS {
        let Some((copied, _)) = with_fault((&from, &to), rung, 1, "EINTR") else { return };
        let copied = copied.expect_success();
        assert_eq!((copied.fallbacks(), copied.vias()), (vec![], vec![rung.via.name()]));
        assert!(fs::read(&to).unwrap() == pattern(SIZE), "{}", rung.call);
    }
}

#[test]
fn disk_error_is_reported_and_leaves_no_file() {
    let (root, from, to) = root();
    for rung in &FALLBACKS {
        for (nth, errno, words) in [
            // The first two calls may be those that fill and empty a pipe.
            (3, "EIO", "(os error 5)"),
            (2, "ENOSPC", "(os error 28)"),
            (3, "EDQUOT", "(os error 122)"),
            (3, "ENOMEM", "(os error 12)"),
            (2, "EFBIG", "(os error 27)"),
        ] {
            if rung.call == "mmap" {
                continue; // what cannot be mapped is read, whatever the errno
            }
            let Some((copied, _)) = with_fault((&from, &to), rung, nth, errno) else { return };
            let path = from.to_str().unwrap();
            let copied = copied.expect_error(&[rung.via.name(), path, "at byte", words]);
            assert_eq!(copied.count("files"), 0);
            assert_eq!(names(root.path()), ["from"], "{}, {errno}", rung.call);
        }
    }
}

/// Two directories on different file systems: one in the source tree or the temporary directory,
/// and one in /dev/shm. Temporary files may be on the same tmpfs as /dev/shm.
fn two_file_systems() -> Option<(tempfile::TempDir, tempfile::TempDir)> {
    let mount_in_memory = Path::new("/dev/shm");
    let device = |path: &Path| fs::metadata(path).map(|of| of.dev()).ok();
    let places = [std::env::temp_dir(), PathBuf::from(env!("CARGO_TARGET_TMPDIR"))];
    let elsewhere = places.iter().find(|place| device(place) != device(mount_in_memory))?;
    Some((tempfile::tempdir_in(elsewhere).ok()?, tempfile::tempdir_in(mount_in_memory).ok()?))
}

#[test]
fn copy_between_filesystems_falls_back() {
    let Some((one, other)) = two_file_systems() else {
        println!("skipped: no directory on another file system than /dev/shm");
        return;
    };
    let (from, to) = (one.path().join("from"), other.path().join("to"));
    fs::write(&from, pattern(SIZE)).unwrap();
    for (via, refused) in
        [(Via::Auto, 2), (Via::Reflink, 2), (Via::CopyRange, 1), (Via::Sendfile, 0)]
    {
        let copied = copy(&[&"--via", &via.name(), &from, &to]).expect_success();
        assert!(fs::read(&to).unwrap() == pattern(SIZE), "{via}");
        let all = [("reflink", 18, 0), ("copy-range", 18, 0)];
        assert_eq!(copied.fallbacks(), all[all.len() - refused..], "{via}");
        assert_eq!(copied.vias(), ["sendfile"], "{via}");
        assert_eq!(copied.count("bytes_copied"), SIZE as u64, "{via}");
    }
    // A pair of file systems that does not support a via is not probed again.
    let (tree, into) = (one.path().join("tree"), other.path().join("tree"));
    fs::create_dir(&tree).unwrap();
    for number in 0..5 {
        fs::write(tree.join(number.to_string()), "x").unwrap();
    }
    let copied = copy(&[&"-r", &"--jobs", &"1", &tree, &into]).expect_success();
    assert_eq!(copied.json["fallbacks"][0]["times"], 1, "{copied:?}");
    assert_eq!(copied.count("bytes_copied"), 5);
}

#[test]
fn direct_falls_back_to_cached_io() {
    let (_root, on_disk, _) = root();
    let Some(image) = Image::mount_in_memory("ramfs", "mode=700") else { return };
    let (from, to) = (image.join("from"), image.join("to"));
    fs::copy(&on_disk, &from).unwrap();
    let copied = copy(&[&"--via", &"direct", &from, &to]).expect_success();
    assert_eq!(copied.fallbacks(), [("direct", 22, 0)]);
    assert_eq!(copied.vias(), ["copy"]);
    assert!(fs::read(&to).unwrap() == pattern(SIZE));
    // The target does not support direct I/O: the source is read past its page cache, the target is
    // written through its own.
    let copied = copy(&[&"--via", &"direct", &on_disk, &to]).expect_success();
    if copied.fallbacks().is_empty() {
        assert_eq!(copied.vias(), ["direct"]);
    }
    assert!(fs::read(&to).unwrap() == pattern(SIZE));
}

#[test]
fn copy_works_without_proc() {
    let (root, from, to) = root();
    let script = "umount -l /proc && exec \"$@\"";
    let mut unmounted = Command::new("unshare");
    unmounted.args(["--mount", "sh", "-c", script, "sh"]);
    let wanted = command(&[&from, &to]);
    unmounted.arg(wanted.get_program()).args(wanted.get_args());
    let output = unmounted.output();
    match output {
        Ok(output) if !output.stdout.is_empty() => {
            Outcome::of(&output).expect_success();
            assert!(fs::read(&to).unwrap() == pattern(SIZE));
            assert_eq!(names(root.path()), ["from", "to"]);
        }
        other => println!("skipped: unshare: {other:?}"),
    }
}
