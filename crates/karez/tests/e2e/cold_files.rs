//! Files that are not in the page cache: worker threads read them, and no other request waits.

use karez_reactor::{Model, Topology};
use karez_transfer::{Direction, Via};
use rustix::fs::{Advice, fadvise, fdatasync};
use std::collections::HashSet;
use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::path::Path;

use crate::files::pattern;
use crate::layouts::{self, Layout};
use crate::server::Server;
use crate::strace::{Call, Traced, after, name, returned};

/// Sizes for the three ways to send a file: inlined behind the head, copied by `auto`, and sent in
/// several steps.
const SIZES: [usize; 3] = [5000, 100_000, 3 << 20];

/// A directory in the source tree, usually on a disk: tmpfs has no cold files.
fn root() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap()
}

/// Writes a file and drops it from the page cache. Each call creates a new file, since pages that a
/// socket refers to, or referred to a moment ago, stay in memory. Before Linux 6.5 (cachestat(2))
/// the kernel does not report them.
pub fn write_cold(path: &Path, size: usize) {
    let _none = fs::remove_file(path);
    fs::write(path, pattern(size)).unwrap();
    let file = File::open(path).unwrap();
    fdatasync(&file).unwrap();
    fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    while karez_sys::cached_pages(file.as_fd(), 0..size as u64).is_ok_and(|pages| pages > 0) {
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    }
}

/// Layouts with worker threads: each layout by `auto`, and each via in one layout.
pub fn with_workers() -> impl Iterator<Item = Layout> {
    let has =
        |layout: &Layout| layout.topology != Topology::Single && layout.model != Model::Blocking;
    let layouts: Vec<_> = layouts::all().filter(has).collect();
    let vias = Direction::FileToSocket.vias().iter().map({
        let first = layouts[0];
        move |&via| Layout { via, ..first }
    });
    layouts.into_iter().map(|layout| Layout { via: Via::Auto, ..layout }).chain(vias)
}

/// Returns whether worker threads read cold pages. On completion models the kernel's or glibc's own
/// threads do.
fn warms(layout: &Layout) -> bool {
    !layout.model.is_completion()
}

#[test]
fn cold_files_arrive_intact() {
    let root = root();
    for layout in with_workers() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        for size in SIZES {
            for _ in 0..2 {
                write_cold(&root.path().join(size.to_string()), size);
                assert!(client.get(&format!("/{size}")).body == pattern(size), "{layout}, {size}");
            }
        }
    }
}

/// strace delays each read of a worker thread by a minute, for which the test does not wait:
/// requests for cached files are answered meanwhile.
#[test]
fn disk_reads_do_not_block_other_connections() {
    let root = root();
    // The filter is by path, so that reads of the dynamic loader are not delayed.
    let paths = SIZES.map(|size| root.path().join(size.to_string()).display().to_string());
    for layout in with_workers().filter(|layout| !layout.model.is_completion()) {
        // Only page-ins use these calls: senders read with RWF_NOWAIT or do not read at all.
        let mut flags = vec!["-e", "inject=pread64:delay_enter=60000000"];
        flags.extend(paths.iter().flat_map(|path| ["-P", path]));
        let Some(traced) = Traced::start_with(&flags, layout, root.path()) else { return };
        for size in SIZES {
            write_cold(&root.path().join(size.to_string()), size);
            let mut waits = traced.server.connect();
            waits.send(format!("GET /{size} HTTP/1.1\r\nHost: test\r\n\r\n"));
            // Other requests are answered; the delayed ones are not.
            fs::write(root.path().join("hot"), b"from memory").unwrap();
            for _ in 0..20 {
                assert_eq!(traced.server.get("/hot").body, b"from memory", "{layout}, {size}");
            }
        }
    }
}

#[test]
fn workers_read_cold_pages_only() {
    let root = root();
    let path = root.path().join("3145728");
    for layout in with_workers().filter(warms) {
        let Some(traced) = Traced::start(layout, root.path()) else { return };
        write_cold(&path, 3 << 20);
        traced.server.get("/3145728");
        traced.server.get("/3145728?again");
        let calls = traced.end().1;
        // The dynamic loader reads, too.
        let calls = after(&calls, "GET /3145728");
        let read = |calls: &[Call]| -> i64 {
            calls.iter().filter(|call| name(call) == "pread64").map(|call| returned(call)).sum()
        };
        if layout.via == Via::Direct {
            // Direct I/O reads every byte, whichever thread issues it.
            assert_eq!(read(calls), 6 << 20, "{layout}");
        } else {
            // Pages that the kernel's read-ahead has loaded meanwhile are not read again.
            assert!((1..=3 << 20).contains(&read(calls)), "{layout}: {}", read(calls));
            assert_eq!(
                read(after(calls, "GET /3145728?again")),
                0,
                "{layout}: it is in memory now"
            );
        }
        let makers = |wanted: &str| -> HashSet<String> {
            let calls = calls.iter().filter(|call| name(call) == wanted);
            calls.map(|call| call.thread.clone()).collect()
        };
        assert!(makers("pread64").is_disjoint(&makers("recvfrom")), "{layout}: a reactor read");
    }
}

/// Direct I/O always reads from the disk: on worker threads, or by Linux AIO with and without
/// worker threads.
#[test]
fn direct_reads_run_outside_the_reactor() {
    const SIZE: usize = 3 << 20;
    let root = root();
    write_cold(&root.path().join("large"), SIZE);
    for (model, topology) in [
        (Model::EpollEdge, Topology::Workers),
        (Model::Select, Topology::Multi),
        (Model::LinuxAio, Topology::Single),
        (Model::LinuxAio, Topology::Workers),
    ] {
        let layout = Layout { model, topology, via: Via::Direct };
        let Some(traced) = Traced::start(layout, root.path()) else { return };
        for _ in 0..2 {
            assert!(traced.server.get("/large").body == pattern(SIZE), "{layout}");
        }
        let calls = traced.end().1;
        let calls = after(&calls, "GET /large");
        if !calls.iter().any(|call| call.contains("O_DIRECT") && returned(call) > 0) {
            return println!("skipped: no O_DIRECT in this file system");
        }
        let reactors: HashSet<_> =
            calls.iter().filter(|call| name(call) == "recvfrom").map(|call| &call.thread).collect();
        let reads = |call: &&Call| name(call) == "pread64" && returned(call) > 0;
        let by_reactors = |call: &Call| reactors.contains(&call.thread);
        assert!(!calls.iter().filter(reads).any(by_reactors), "{layout}: a reactor read");
        let read: i64 = calls.iter().filter(reads).map(|call| returned(call)).sum();
        let begun = calls.iter().filter(|call| call.contains("IOCB_CMD_PREAD")).count();
        let expected = if model == Model::LinuxAio { (0, true) } else { (2 * SIZE as i64, false) };
        assert_eq!((read, begun > 0), expected, "{layout}");
    }
}
