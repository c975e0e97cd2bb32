//! Traces: the system calls of a response, counted. A trace proves the via.

use karez_reactor::Model;
use karez_transfer::Via;
use rustix::io::{IoSliceMut, ReadWriteFlags, preadv2};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::files::pattern;
use crate::layouts;
use crate::strace::{Call, Traced, after, count, name, returned};

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
fn large_file_is_sent_by_its_via_after_a_corked_head() {
    let root = root();
    for layout in layouts::traced() {
        let Some(traced) = Traced::start(layout, root.path()) else { return };
        assert!(traced.server.get("/large").body == pattern(MIB), "{layout}");
        let calls = traced.end().1;
        let calls = after(&calls, "GET /large");
        let head = calls.iter().find(|call| call.contains("HTTP/1.1 200 OK")).unwrap();
        assert!(name(head) == "sendto" && head.contains("MSG_MORE"), "{layout}: {:.300}", &**head);
        let moved_by = |wanted: &str| -> i64 {
            calls.iter().filter(|call| name(call) == wanted).map(|call| returned(call)).sum()
        };
        let moved = ["sendfile", "pread64", "splice", "mmap"].map(|call| match call {
            "mmap" => i64::from(calls.iter().any(maps_a_file)),
            call => moved_by(call),
        });
        let mib = MIB as i64;
        let expected = match layout.via {
            Via::Auto | Via::Sendfile => [mib, 0, 0, 0],
            // Bytes that did not fit into the socket are read again.
            Via::Copy => [0, moved[1].max(mib), 0, 0],
            // Into the pipe and out of it.
            Via::Splice => [0, 0, 2 * mib, 0],
            Via::Mmap | Via::Cow => [0, 0, 0, 1],
            // A UNIX socket would fall back to sendfile.
            Via::Zerocopy => {
                let lent = |call: &&Call| name(call) == "sendto" && call.contains("MSG_ZEROCOPY");
                assert_eq!(calls.iter().filter(lent).map(|call| returned(call)).sum::<i64>(), mib);
                [0, 0, 0, 1]
            }
            // Whole blocks, each read once.
            Via::Direct => [0, mib, 0, 0],
            _ => unreachable!("no way to a socket"),
        };
        assert_eq!(moved, expected, "{layout}: sendfile, pread, splice, mmap");
    }
}

fn maps_a_file(call: &Call) -> bool {
    name(call) == "mmap" && !call.contains("MAP_ANONYMOUS")
}

/// Returns whether reads of files in this directory support `RWF_NOWAIT`.
fn supports_nowait(place: &Path) -> bool {
    let mut file = tempfile::tempfile_in(place).unwrap();
    file.write_all(b"x").unwrap();
    preadv2(&file, &mut [IoSliceMut::new(&mut [0])], 0, ReadWriteFlags::NOWAIT).is_ok()
}

#[test]
fn small_file_costs_four_calls_or_five_on_model_blocking() {
    // Temporary files may be on tmpfs or on an overlay.
    let places = [std::env::temp_dir(), PathBuf::from(env!("CARGO_TARGET_TMPDIR"))];
    let Some(place) = places.iter().find(|place| supports_nowait(place)) else {
        println!("skipped: RWF_NOWAIT is refused in all of {places:?}");
        return;
    };
    expect_syscalls_for_a_small_file(root_in(place).path(), 5);
}

/// Missing support for `RWF_NOWAIT` is detected once and not for every request; cachestat(2) is
/// used instead.
#[test]
fn small_file_on_tmpfs_costs_at_most_six_calls() {
    let place = Path::new("/dev/shm");
    if !place.is_dir() || supports_nowait(place) {
        println!("skipped: no /dev/shm, or one that reads without waiting");
        return;
    }
    let root = root_in(place);
    expect_syscalls_for_a_small_file(root.path(), 6);
    for layout in layouts::traced() {
        let Some(traced) = Traced::start(layout, root.path()) else { return };
        for _ in 0..3 {
            for (name, size) in [("small", 1024), ("large", MIB)] {
                assert_eq!(traced.server.get(&format!("/{name}")).body.len(), size, "{layout}");
            }
        }
        let calls = traced.end().1;
        // Once by a response, and once when the file is watched.
        assert!(count(&calls, "preadv2") <= 2, "{layout}: {}", count(&calls, "preadv2"));
    }
}

/// The page cache is not queried for a file that was in memory a moment ago, whether there are worker
/// threads or not: the response is one send of the head and as many calls of sendfile(2) as the socket needs.
#[test]
fn hot_large_file_is_sent_without_queries() {
    // The call of preadv2(2) is of a query where cachestat(2) alone does not suffice.
    const QUERIES: [&str; 6] =
        ["cachestat", "syscall_0x1c3", "preadv2", "mincore", "madvise", "fstatfs"];
    const REQUESTS: usize = 50;
    let root = root();
    let sends = |layout: &layouts::Layout| layout.via == Via::Sendfile && layout.sleeps_when_idle();
    for layout in layouts::all_with_vias().map(|it| layouts::Layout { via: Via::Sendfile, ..it }) {
        if !sends(&layout) || layout.model.is_completion() {
            continue;
        }
        let Some(traced) = Traced::start(layout, root.path()) else { return };
        let mut client = traced.server.connect();
        for _ in 0..REQUESTS {
            assert_eq!(client.get("/large").body.len(), MIB, "{layout}");
        }
        let calls = traced.end().1;
        let calls = after(&calls, "GET /large");
        let mut without = 0;
        for request in calls.split(|call| call.contains("GET /large")) {
            without += usize::from(!request.iter().any(|call| QUERIES.contains(&name(call))));
        }
        // A second may pass between two requests on a loaded machine, but not between all.
        assert!(without > REQUESTS / 2, "{layout}: {without} of {REQUESTS} made no query");
    }
}

fn expect_syscalls_for_a_small_file(root: &Path, most: usize) {
    const REQUESTS: usize = 100;
    // Model signal checks a new connection without a signal, and may get the signal for the same
    // data afterwards.
    const BEGINNING: usize = 5;
    // Linux AIO submits its polls with a call of its own. Everywhere else a watched file costs four
    // calls: the wait, the receive, a poll of the watches, the send.
    let limit = |layout: layouts::Layout| match layout.model {
        Model::Blocking => most,
        Model::LinuxAio => 5,
        _ => 4,
    };
    // A busy-polling model makes as many calls as it can.
    for layout in layouts::traced().filter(|layout| layout.sleeps_when_idle()) {
        let Some(traced) = Traced::start(layout, root) else { return };
        let mut client = traced.server.connect();
        client.get("/small");
        client.get("/small");
        client.get("/small?first");
        for _ in 0..REQUESTS {
            assert_eq!(client.get("/small").body.len(), 1024, "{layout}");
        }
        client.get("/small?last");
        let calls = traced.end().1;
        let from = after(&calls, "GET /small?first").len();
        let to = after(&calls, "GET /small?last").len();
        let calls = &calls[calls.len() - from..calls.len() - to];
        // Other threads may have started only now.
        let mine = |call: &&Call| call.thread == calls[0].thread;
        let calls: Vec<_> = calls.iter().filter(mine).map(|call| name(call)).collect();
        let each = calls.len() as f64 / (REQUESTS + 1) as f64;
        println!("{layout}: {each:.2} system calls a request");
        // Once a second a watched file is verified, by a statx and one read or two.
        let verified = calls.iter().filter(|name| **name == "statx").count();
        let verifying = match layout.model {
            Model::Blocking => 0,
            // Other processes may change a watched directory, which is read then.
            _ => 3 * verified + calls.iter().filter(|name| **name == "read").count(),
        };
        assert!(layout.model == Model::Blocking || verified < REQUESTS / 4, "{layout}: {verified}");
        let most = limit(layout) * (REQUESTS + 1) + BEGINNING + verifying;
        assert!(calls.len() <= most, "{layout}: {each} calls: {calls:#?}");
    }
}

/// System calls that wait for several descriptors.
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
fn each_model_waits_with_its_own_calls() {
    let root = root();
    for layout in layouts::all().filter(|layout| !layout.model.is_completion()) {
        let Some(traced) = Traced::start(layout, root.path()) else { return };
        for _ in 0..10 {
            let mut client = traced.server.connect();
            for _ in 0..10 {
                client.get("/small");
            }
        }
        let calls = traced.end().1;
        let accepted: Vec<_> = calls.iter().filter(|call| name(call) == "accept4").collect();
        assert_eq!(accepted.iter().filter(|call| returned(call) >= 0).count(), 10, "{layout}");
        // Threads that accept or receive are reactors.
        let is_reactor = |call: &Call| {
            let mine = |other: &&Call| other.thread == call.thread;
            calls.iter().filter(mine).any(|call| ["accept4", "recvfrom"].contains(&name(call)))
        };
        let reactors: BTreeSet<_> =
            calls.iter().filter(|call| is_reactor(call)).map(|call| &call.thread).collect();
        let made: BTreeSet<_> = calls
            .iter()
            .filter(|call| reactors.contains(&call.thread) && WAITS.contains(&name(call)))
            // Watches are polled without a wait.
            .filter(|call| !call.contains("POLLPRI"))
            .map(|call| name(call))
            .collect();
        // The acceptor waits for a connection or the end.
        let accepts = (layout.model == Model::Blocking).then_some("ppoll");
        assert_eq!(made, layout.wait_call().or(accepts).into_iter().collect(), "{layout}");
        // Each connection is registered once, and nothing else: on level-triggered models, too,
        // since a response that is sent at once changes no interest.
        let controls: Vec<_> = calls.iter().filter(|call| controls_connection(call)).collect();
        let once = matches!(layout.model, Model::EpollEdge | Model::EpollLevel);
        assert_eq!(controls.len(), if once { 10 } else { 0 }, "{layout}: {controls:#?}");
    }
}

/// Returns whether the call is an `epoll_ctl` for a connection: all other tokens have the highest
/// bit set. Only listeners are deregistered.
fn controls_connection(call: &Call) -> bool {
    let token = call.split("u64=").nth(1).and_then(|rest| rest.split('}').next());
    let added = name(call) == "epoll_ctl" && !call.contains("EPOLL_CTL_DEL");
    added && token.is_none_or(|token| token.parse::<u64>().unwrap() >> 63 == 0)
}

#[test]
fn connections_are_registered_once_without_setsockopt() {
    let root = root();
    for layout in layouts::all()
        .filter(|layout| layout.model != Model::Blocking && !layout.model.is_completion())
    {
        let Some(traced) = Traced::start(layout, root.path()) else { return };
        traced.server.get("/small");
        let calls = traced.end().1;
        let calls = after(&calls, "GET /small");
        // TCP_NODELAY is inherited from the listener.
        assert_eq!(count(calls, "setsockopt"), 0, "{layout}");
    }
}
