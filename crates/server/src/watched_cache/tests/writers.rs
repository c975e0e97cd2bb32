//! Which writers raise an event: system calls do, stores to a mapping do not, and asynchronous
//! writes depend on the kernel. This prints the table that the module's head documents.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, Statx, StatxFlags, statx};

use super::{Ground, Limits, Writer};

/// By which means a change is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noticed {
    ByEvent,
    /// One statx(2) shows another size or time.
    ByVerification,
    Never,
}

/// Makes a change of a file and returns how it is noticed.
pub(super) fn noticed(ground: &mut Ground, name: &str, change: impl FnOnce()) -> Noticed {
    // An old time, as one write after the other may get the same one.
    let file = File::options().write(true).open(ground.path(name)).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).unwrap();
    drop(file);
    ground.kept(name);
    let meta = |ground: &Ground| -> Statx {
        statx(CWD, ground.path(name), AtFlags::empty(), StatxFlags::BASIC_STATS).unwrap()
    };
    let identity = |meta: &Statx| (meta.stx_size, meta.stx_mtime.tv_sec, meta.stx_mtime.tv_nsec);
    let before = identity(&meta(ground));
    change();
    if ground.hit(name).is_none() {
        Noticed::ByEvent
    } else if identity(&meta(ground)) != before {
        Noticed::ByVerification
    } else {
        Noticed::Never
    }
}

/// Writers, and since which kernel each raises an event; the last ones never do.
const WRITERS: [(&str, Option<(u32, u32)>); 13] = [
    ("write", Some((2, 6))),
    ("pwrite", Some((2, 6))),
    ("append", Some((2, 6))),
    ("truncate", Some((2, 6))),
    ("sendfile", Some((2, 6))),
    ("copy", Some((4, 5))),
    ("punch", Some((3, 14))),
    ("splice", Some((6, 6))),
    ("uring", Some((5, 18))),
    ("uring-direct", Some((5, 18))),
    ("aio", None),
    ("aio-direct", None),
    ("map", None),
];

#[test]
fn system_calls_that_write_raise_an_event() {
    for directory in [std::env::temp_dir(), PathBuf::from("/dev/shm")] {
        let name = directory.display();
        match tempfile::tempdir_in(&directory) {
            Ok(owner) => on(owner.path(), &name.to_string()),
            Err(error) => println!("skipped: {name}: {error}"),
        }
    }
}

fn on(directory: &Path, name: &str) {
    let Some(mut ground) = Ground::at(directory, Limits::default()) else { return };
    let Some(mut writer) = Writer::start(directory) else { return };
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse().unwrap_or(0));
    let kernel: (u32, u32) = (numbers.next().unwrap(), numbers.next().unwrap_or(0));
    for (kind, since) in WRITERS {
        ground.write("file", &"x".repeat(4096));
        let mut answer = String::new();
        let found = noticed(&mut ground, "file", || {
            answer = writer.run(&format!("{kind} file new"));
        });
        if answer != "ok" {
            println!("skipped: {kind} on {name}: {answer}");
            continue;
        }
        println!("{kind} on {name}: {found:?}");
        let has_event = since.is_some_and(|since| kernel >= since);
        assert!(!has_event || found == Noticed::ByEvent, "{kind} on {name}: {found:?}");
        // Only a store to a mapping may stay unnoticed, where the file system dates none.
        assert!(kind == "map" || found != Noticed::Never, "{kind} on {name}: {found:?}");
    }
    // The page is writable already, so nothing dates the second store.
    ground.write("mapped", &"x".repeat(4096));
    writer.run("store mapped first");
    let found = noticed(&mut ground, "mapped", || _ = writer.run("store mapped second"));
    println!("a store to a dirty page on {name}: {found:?}");
}
