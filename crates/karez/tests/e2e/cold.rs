//! Files that are on a disk only: where there are workers, they read them, and nobody waits.

use karez_reactor::{Model, Topology};
use karez_transfer::{Direction, Via};
use rustix::fs::{Advice, fadvise, fdatasync};
use std::collections::HashSet;
use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::path::Path;

use crate::files::pattern;
use crate::server::Server;
use crate::strace::{Call, Traced, after, name, returned};
use crate::ways::{self, Way};

/// Small enough to ride along with a head, copied by `auto`, and passed on in several steps.
const SIZES: [usize; 3] = [5000, 100_000, 3 << 20];

/// A directory on a disk, if ours is: tmpfs has no cold files.
fn root() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap()
}

/// Writes a file that is on the disk only. It is a new one each time: a page that is on its way to
/// somebody, or was a moment ago, stays in memory. Nobody tells before Linux 6.5.
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

/// The ways with workers: each layout by `auto`, and each via in one.
fn with_workers() -> impl Iterator<Item = Way> {
    let has = |way: &Way| way.topology != Topology::Single && way.model != Model::Blocking;
    let layouts: Vec<_> = ways::layouts().filter(has).collect();
    let vias = Direction::FileToSocket.vias().iter().map({
        let first = layouts[0];
        move |&via| Way { via, ..first }
    });
    layouts.into_iter().map(|way| Way { via: Via::Auto, ..way }).chain(vias)
}

/// Whether workers read for it: not where the kernel's own threads, or glibc's, do.
fn warms(way: &Way) -> bool {
    !way.model.completes()
}

#[test]
fn cold_files_arrive_whole() {
    let root = root();
    for way in with_workers() {
        let server = Server::start(way, root.path());
        let mut client = server.connect();
        for size in SIZES {
            for _ in 0..2 {
                write_cold(&root.path().join(size.to_string()), size);
                assert!(client.get(&format!("/{size}")).body == pattern(size), "{way}, {size}");
            }
        }
    }
}

/// A worker that reads is held up for a minute, which the test does not wait for: what is in
/// memory is answered meanwhile.
#[test]
fn who_waits_for_a_disk_holds_up_nobody_else() {
    let root = root();
    // Not what the program itself is loaded from.
    let paths = SIZES.map(|size| root.path().join(size.to_string()).display().to_string());
    for way in with_workers().filter(|way| !way.model.completes()) {
        // Only those who warm read so: what is sent is read with RWF_NOWAIT, or not at all.
        let mut flags = vec!["-e", "inject=pread64:delay_enter=60000000"];
        flags.extend(paths.iter().flat_map(|path| ["-P", path]));
        let Some(traced) = Traced::start_with(&flags, way, root.path()) else { return };
        for size in SIZES {
            write_cold(&root.path().join(size.to_string()), size);
            let mut waits = traced.server.connect();
            waits.send(format!("GET /{size} HTTP/1.1\r\nHost: test\r\n\r\n"));
            // Others are answered, and what waited is not.
            fs::write(root.path().join("hot"), b"from memory").unwrap();
            for _ in 0..20 {
                assert_eq!(traced.server.get("/hot").body, b"from memory", "{way}, {size}");
            }
        }
    }
}

#[test]
fn workers_read_what_is_cold_and_nobody_reads_what_is_hot() {
    let root = root();
    let path = root.path().join("3145728");
    for way in with_workers().filter(warms) {
        let Some(traced) = Traced::start(way, root.path()) else { return };
        write_cold(&path, 3 << 20);
        traced.server.get("/3145728");
        traced.server.get("/3145728?again");
        let calls = traced.end().1;
        // The loader reads, too.
        let calls = after(&calls, "GET /3145728");
        let read = |calls: &[Call]| -> i64 {
            calls.iter().filter(|call| name(call) == "pread64").map(|call| returned(call)).sum()
        };
        if way.via == Via::Direct {
            // By whoever reads past the memory, all of it is read each time.
            assert_eq!(read(calls), 6 << 20, "{way}");
        } else {
            // What the kernel has read ahead meanwhile nobody reads.
            assert!((1..=3 << 20).contains(&read(calls)), "{way}: {}", read(calls));
            assert_eq!(read(after(calls, "GET /3145728?again")), 0, "{way}: it is in memory now");
        }
        let makers = |wanted: &str| -> HashSet<String> {
            let calls = calls.iter().filter(|call| name(call) == wanted);
            calls.map(|call| call.thread.clone()).collect()
        };
        assert!(makers("pread64").is_disjoint(&makers("recvfrom")), "{way}: a reactor read");
    }
}

/// Past the page cache there is nothing but the disk: workers read it all, or Linux AIO does, with
/// workers and without.
#[test]
fn what_passes_the_cache_by_is_read_by_others_than_the_reactor() {
    const SIZE: usize = 3 << 20;
    let root = root();
    write_cold(&root.path().join("large"), SIZE);
    for (model, topology) in [
        (Model::EpollEdge, Topology::Workers),
        (Model::Select, Topology::Multi),
        (Model::LinuxAio, Topology::Single),
        (Model::LinuxAio, Topology::Workers),
    ] {
        let way = Way { model, topology, via: Via::Direct };
        let Some(traced) = Traced::start(way, root.path()) else { return };
        for _ in 0..2 {
            assert!(traced.server.get("/large").body == pattern(SIZE), "{way}");
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
        assert!(!calls.iter().filter(reads).any(by_reactors), "{way}: a reactor read");
        let read: i64 = calls.iter().filter(reads).map(|call| returned(call)).sum();
        let begun = calls.iter().filter(|call| call.contains("IOCB_CMD_PREAD")).count();
        let expected = if model == Model::LinuxAio { (0, true) } else { (2 * SIZE as i64, false) };
        assert_eq!((read, begun > 0), expected, "{way}");
    }
}
