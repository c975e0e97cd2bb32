//! Traces: the system calls of an answer, counted. A via that is claimed is a via that ran.

use karez_reactor::Model;
use karez_transfer::Via;
use rustix::io::{IoSliceMut, ReadWriteFlags, preadv2};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::files::pattern;
use crate::strace::{Call, Traced, after, count, name, returned};
use crate::ways;

const MIB: usize = 1 << 20;

/// A root with files old enough to be kept open.
fn root() -> tempfile::TempDir {
    root_in(&std::env::temp_dir())
}

fn root_in(place: &Path) -> tempfile::TempDir {
    let root = tempfile::tempdir_in(place).unwrap();
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    for (name, size) in [("small", 1024), ("large", MIB)] {
        let path = root.path().join(name);
        fs::write(&path, pattern(size)).unwrap();
        File::open(&path).unwrap().set_modified(hour_ago).unwrap();
    }
    root
}

#[test]
fn a_large_file_leaves_by_its_via_behind_a_head_that_waits_for_it() {
    let root = root();
    for way in ways::traced() {
        let Some(traced) = Traced::start(way, root.path()) else { return };
        assert!(traced.server.get("/large").body == pattern(MIB), "{way}");
        let calls = traced.end().1;
        let calls = after(&calls, "GET /large");
        let head = calls.iter().find(|call| call.contains("HTTP/1.1 200 OK")).unwrap();
        assert!(name(head) == "sendto" && head.contains("MSG_MORE"), "{way}: {:.300}", &**head);
        let moved_by = |wanted: &str| -> i64 {
            calls.iter().filter(|call| name(call) == wanted).map(|call| returned(call)).sum()
        };
        let moved = ["sendfile", "pread64", "splice", "mmap"].map(|call| match call {
            "mmap" => i64::from(calls.iter().any(maps_a_file)),
            call => moved_by(call),
        });
        let mib = MIB as i64;
        let expected = match way.via {
            Via::Auto | Via::Sendfile => [mib, 0, 0, 0],
            // What the socket did not take is read again.
            Via::Copy => [0, moved[1].max(mib), 0, 0],
            // Into the pipe and out of it.
            Via::Splice => [0, 0, 2 * mib, 0],
            Via::Mmap | Via::Cow => [0, 0, 0, 1],
            // A UNIX socket would go on with sendfile.
            Via::Zerocopy => {
                let lent = |call: &&Call| name(call) == "sendto" && call.contains("MSG_ZEROCOPY");
                assert_eq!(calls.iter().filter(lent).map(|call| returned(call)).sum::<i64>(), mib);
                [0, 0, 0, 1]
            }
            // Whole blocks, each read once.
            Via::Direct => [0, mib, 0, 0],
            Via::Reflink | Via::CopyRange => unreachable!("no way to a socket"),
        };
        assert_eq!(moved, expected, "{way}: sendfile, pread, splice, mmap");
    }
}

fn maps_a_file(call: &Call) -> bool {
    name(call) == "mmap" && !call.contains("MAP_ANONYMOUS")
}

/// Whether files in this directory can be read only as far as they are in memory.
fn grants_nowait(place: &Path) -> bool {
    let mut file = tempfile::tempfile_in(place).unwrap();
    file.write_all(b"x").unwrap();
    preadv2(&file, &mut [IoSliceMut::new(&mut [0])], 0, ReadWriteFlags::NOWAIT).is_ok()
}

#[test]
fn a_request_for_a_small_file_costs_at_most_five_calls() {
    // Temporary files may be on tmpfs or on an overlay.
    let places = [std::env::temp_dir(), PathBuf::from(env!("CARGO_TARGET_TMPDIR"))];
    let Some(place) = places.iter().find(|place| grants_nowait(place)) else {
        println!("skipped: RWF_NOWAIT is refused in all of {places:?}");
        return;
    };
    expect_calls_of_a_small_file(root_in(place).path(), 5);
}

/// A refusal of `RWF_NOWAIT` is asked for once and not by every request; cachestat(2) is asked
/// instead.
#[test]
fn a_request_for_a_small_file_on_tmpfs_costs_at_most_six_calls() {
    let place = Path::new("/dev/shm");
    if !place.is_dir() || grants_nowait(place) {
        println!("skipped: no /dev/shm, or one that reads without waiting");
        return;
    }
    let root = root_in(place);
    expect_calls_of_a_small_file(root.path(), 6);
    for way in ways::traced() {
        let Some(traced) = Traced::start(way, root.path()) else { return };
        for _ in 0..3 {
            for (name, size) in [("small", 1024), ("large", MIB)] {
                assert_eq!(traced.server.get(&format!("/{name}")).body.len(), size, "{way}");
            }
        }
        let calls = traced.end().1;
        assert!(count(&calls, "preadv2") <= 1, "{way}: {}", count(&calls, "preadv2"));
    }
}

fn expect_calls_of_a_small_file(root: &Path, most: usize) {
    const REQUESTS: usize = 100;
    // Model signal looks at a connection that has just begun although it was not told to, and may
    // be told afterwards of what it has read.
    const BEGINNING: usize = 5;
    // Linux AIO is told what is wanted by a call of its own.
    let limit = |way: ways::Way| most + usize::from(way.model == Model::LinuxAio);
    // A model that does not wait makes as many calls as it can.
    for way in ways::traced().filter(|way| way.rests()) {
        let Some(traced) = Traced::start(way, root) else { return };
        let mut client = traced.server.connect();
        client.get("/small");
        client.get("/small?first");
        for _ in 0..REQUESTS {
            assert_eq!(client.get("/small").body.len(), 1024, "{way}");
        }
        client.get("/small?last");
        let calls = traced.end().1;
        let from = after(&calls, "GET /small?first").len();
        let to = after(&calls, "GET /small?last").len();
        let calls = &calls[calls.len() - from..calls.len() - to];
        // Other threads may have begun only now.
        let mine = |call: &&Call| call.thread == calls[0].thread;
        let calls: Vec<_> = calls.iter().filter(mine).map(|call| name(call)).collect();
        let each = calls.len() as f64 / (REQUESTS + 1) as f64;
        println!("{way}: {each:.2} system calls a request");
        let most = limit(way) * (REQUESTS + 1) + BEGINNING;
        assert!(calls.len() <= most, "{way}: {each} calls: {calls:#?}");
    }
}

/// The calls by which somebody can wait for several descriptors.
const WAITS: [&str; 7] = [
    "epoll_pwait",
    "poll",
    "ppoll",
    "pselect6",
    "rt_sigtimedwait",
    "io_getevents",
    "io_uring_enter",
];

#[test]
fn a_model_waits_by_its_own_calls() {
    let root = root();
    for way in ways::layouts().filter(|way| !way.model.completes()) {
        let Some(traced) = Traced::start(way, root.path()) else { return };
        for _ in 0..10 {
            let mut client = traced.server.connect();
            for _ in 0..10 {
                client.get("/small");
            }
        }
        let calls = traced.end().1;
        let accepted: Vec<_> = calls.iter().filter(|call| name(call) == "accept4").collect();
        assert_eq!(accepted.iter().filter(|call| returned(call) >= 0).count(), 10, "{way}");
        // Whoever accepts or receives.
        let is_reactor = |call: &Call| {
            let mine = |other: &&Call| other.thread == call.thread;
            calls.iter().filter(mine).any(|call| ["accept4", "recvfrom"].contains(&name(call)))
        };
        let reactors: BTreeSet<_> =
            calls.iter().filter(|call| is_reactor(call)).map(|call| &call.thread).collect();
        let made: BTreeSet<_> = calls
            .iter()
            .filter(|call| reactors.contains(&call.thread) && WAITS.contains(&name(call)))
            .map(|call| name(call))
            .collect();
        assert_eq!(made, way.wait().into_iter().collect(), "{way}");
        // Each connection is registered once, and never anything else: on levels, too, for what
        // can be sent at once changes no interest.
        let controls: Vec<_> = calls.iter().filter(|call| controls_connection(call)).collect();
        let once = matches!(way.model, Model::EpollEdge | Model::EpollLevel);
        assert_eq!(controls.len(), if once { 10 } else { 0 }, "{way}: {controls:#?}");
    }
}

/// Whether the call is an `epoll_ctl` for a connection: what is none has a token with the highest
/// bit set. Deregistered are listeners only.
fn controls_connection(call: &Call) -> bool {
    let token = call.split("u64=").nth(1).and_then(|rest| rest.split('}').next());
    let added = name(call) == "epoll_ctl" && !call.contains("EPOLL_CTL_DEL");
    added && token.is_none_or(|token| token.parse::<u64>().unwrap() >> 63 == 0)
}

#[test]
fn a_connection_registered_once_sets_no_option_of_its_own() {
    let root = root();
    for way in ways::layouts().filter(|way| way.model != Model::Blocking && !way.model.completes())
    {
        let Some(traced) = Traced::start(way, root.path()) else { return };
        traced.server.get("/small");
        let calls = traced.end().1;
        let calls = after(&calls, "GET /small");
        // TCP_NODELAY comes from the listener.
        assert_eq!(count(calls, "setsockopt"), 0, "{way}");
    }
}
