//! Faults: calls that fail where they seldom do. Right bytes or a clean end, and the server goes
//! on. (An `EAGAIN` made up would be no fair test: no edge ever follows it.)

use karez_reactor::{Model, Topology};
use karez_transfer::Via;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::files::pattern;
use crate::patience::PATIENCE;
use crate::server::Server;
use crate::strace::{Call, Traced, count, injected, name};
use crate::ways::{self, Way};

const SIZE: usize = (5 << 20) + 3;

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    for (name, size) in [("file", SIZE), ("other", 100)] {
        let path = root.path().join(name);
        fs::write(&path, pattern(size)).unwrap();
        File::open(&path).unwrap().set_modified(hour_ago).unwrap();
    }
    root
}

/// Fetches both files under injected faults and expects them whole; gives the calls.
fn expect_all(way: Way, root: &Path, faults: &[&str]) -> Option<Vec<Call>> {
    let traced = Traced::start_with(faults, way, root)?;
    let mut client = traced.server.connect();
    for _ in 0..2 {
        assert!(client.get("/file").body == pattern(SIZE), "{way}, {faults:?}");
        assert!(client.get("/other").body == pattern(100), "{way}, {faults:?}");
    }
    Some(traced.end().1)
}

#[test]
fn a_refused_sendfile_goes_down_the_ladder_at_once_and_in_the_middle() {
    let root = root();
    for way in ways::traced().filter(|way| way.via == Via::Sendfile) {
        for (errno, when) in [("EINVAL", "1+"), ("EINVAL", "3+"), ("ENOSYS", "2+"), ("EPERM", "1+")]
        {
            let inject = format!("inject=sendfile:error={errno}:when={when}");
            let Some(calls) = expect_all(way, root.path(), &["-e", &inject]) else { return };
            assert!(injected(&calls, "sendfile") > 0, "{way}, {inject}");
            assert!(count(&calls, "pread64") > 0, "{way}, {inject}");
        }
    }
}

/// The first use of a via may fail with any errno; the bytes then come by a plain read.
#[test]
fn the_first_use_of_a_via_may_fail_with_any_errno() {
    let root = root();
    for way in ways::traced() {
        let call = match way.via {
            Via::Sendfile => "sendfile",
            Via::Splice => "splice",
            _ => continue,
        };
        for errno in ["EIO", "EACCES"] {
            let inject = format!("inject={call}:error={errno}:when=1");
            let Some(calls) = expect_all(way, root.path(), &["-e", &inject]) else { return };
            assert!(injected(&calls, call) > 0, "{way}, {inject}");
        }
    }
}

#[test]
fn a_0_in_the_middle_of_a_file_is_not_its_end() {
    let root = root();
    for way in ways::traced() {
        let call = match way.via {
            Via::Auto | Via::Sendfile => "sendfile",
            Via::Splice => "splice",
            _ => continue,
        };
        for when in [1, 3] {
            let inject = format!("inject={call}:retval=0:when={when}");
            let Some(calls) = expect_all(way, root.path(), &["-e", &inject]) else { return };
            assert!(injected(&calls, call) > 0, "{way}, {inject}");
        }
    }
}

/// Files of the kernel: one that may not be mapped, and one that says that it has a page and has
/// less. What can be read is sent by every via.
#[test]
fn files_that_refuse_a_via_are_read() {
    for way in ways::all() {
        let vmlinux = Path::new("/sys/kernel/btf/vmlinux");
        if let Ok(content) = fs::read(vmlinux) {
            let server = Server::start(way, vmlinux.parent().unwrap());
            assert!(server.get("/vmlinux").body == content, "{way}");
        } else {
            println!("skipped: there is no {}", vmlinux.display());
        }
        let page = Path::new("/sys/kernel/mm/transparent_hugepage/enabled");
        if let Ok(content) = fs::read(page) {
            let server = Server::start(way, page.parent().unwrap());
            let mut client = server.connect();
            assert_eq!(client.begin("/enabled").status, 200, "{way}");
            assert!(client.rest() == content, "{way}");
        } else {
            println!("skipped: there is no {}", page.display());
        }
    }
}

#[test]
fn an_error_of_the_disk_ends_that_connection_and_is_told() {
    let root = root();
    for way in ways::traced() {
        let call = match way.via {
            Via::Auto | Via::Sendfile => "sendfile",
            Via::Splice => "splice",
            Via::Mmap | Via::Cow | Via::Zerocopy => "fstat",
            Via::Copy | Via::Direct => "pread64",
            Via::Reflink | Via::CopyRange => unreachable!("no way to a socket"),
        };
        let inject = format!("inject={call}:error=EIO:when=3");
        let Some(traced) = Traced::start_with(&["-e", &inject], way, root.path()) else { return };
        let mut client = traced.server.connect();
        assert_eq!(client.begin("/file").status, 200, "{way}");
        let got = client.rest();
        assert!(got.len() < SIZE && pattern(SIZE).starts_with(&got), "{way}: {}", got.len());
        assert!(traced.server.get("/other").body == pattern(100), "{way}: it goes on");
        let (said, calls) = traced.end();
        assert_eq!(injected(&calls, call), 1, "{way}");
        assert!(said.contains("GET /file") && said.contains("os error 5"), "{way}: {said}");
    }
}

#[test]
fn interrupted_calls_are_made_again() {
    let root = root();
    for way in ways::traced() {
        let calls = ["sendto", "recvfrom", "sendfile", "accept4", "openat2"];
        for call in calls.into_iter().chain(way.wait()) {
            let inject = format!("inject={call}:error=EINTR:when=2+2");
            let Some(calls) = expect_all(way, root.path(), &["-e", &inject]) else { return };
            let made = count(&calls, call);
            assert!(injected(&calls, call) > 0 || made < 2, "{way}, {call}: {made} calls");
        }
    }
}

#[test]
fn an_interrupted_read_is_made_again() {
    let root = root();
    for way in ways::traced() {
        // The first ones belong to the dynamic loader.
        let inject = "inject=pread64,preadv2:error=EINTR:when=20+2";
        let Some(traced) = Traced::start_with(&["-e", inject], way, root.path()) else { return };
        let mut client = traced.server.connect();
        for _ in 0..30 {
            assert!(client.get("/other").body == pattern(100), "{way}");
        }
        assert!(client.get("/file").body == pattern(SIZE), "{way}");
        let calls = traced.end().1;
        assert!(injected(&calls, "pread64") + injected(&calls, "preadv2") > 0, "{way}");
    }
}

#[test]
fn short_of_descriptors_accepting_rests_and_goes_on() {
    let root = root();
    for way in ways::layouts().filter(|way| !way.model.completes()) {
        for errno in ["EMFILE", "ENFILE", "ENOMEM", "ECONNABORTED"] {
            let inject = format!("inject=accept4:error={errno}:when=1..3");
            let Some(calls) = expect_all(way, root.path(), &["-e", &inject]) else { return };
            assert!(injected(&calls, "accept4") > 0, "{way}, {errno}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_opened_now_is_answered_so_and_served_later() {
    let root = root();
    for way in ways::layouts() {
        // strace counts a thread's calls: the first opens the root or finds nothing.
        for (errno, status) in [("EMFILE", 503), ("EIO", 500), ("EACCES", 403)] {
            if errno == "EACCES" && way.model != Model::Blocking && way.topology.has_workers() {
                continue; // a worker looks again, with a count of its own
            }
            let inject = format!("inject=openat2:error={errno}:when=2..3");
            let Some(traced) = Traced::start_with(&["-e", &inject], way, root.path()) else {
                return;
            };
            let mut client = traced.server.connect();
            assert_eq!(client.get("/nothing").status, 404, "{way}, {errno}");
            assert_eq!(client.get("/other").status, status, "{way}, {errno}");
            while client.get("/other").status != 200 {}
            assert!(injected(&traced.end().1, "openat2") > 0, "{way}, {errno}");
        }
    }
}

#[test]
fn a_rename_race_is_tried_again() {
    let root = root();
    for way in ways::layouts() {
        // Of each thread: the first opens the root, a reactor with a pool tries once.
        let inject = "inject=openat2:error=EAGAIN:when=1..3";
        let Some(calls) = expect_all(way, root.path(), &["-e", inject]) else { return };
        assert!(injected(&calls, "openat2") > 3, "{way}");
    }
}

#[test]
fn what_could_wait_for_a_disk_is_opened_by_a_worker() {
    let root = root();
    let pooled = |way: &Way| {
        let reacts = way.model != Model::Blocking && !way.model.completes();
        reacts && way.topology.has_workers()
    };
    for way in ways::layouts().filter(pooled) {
        // As the kernel answers where a name is not in its caches.
        let inject = "inject=openat2:error=EAGAIN:when=1..2";
        let Some(calls) = expect_all(way, root.path(), &["-e", inject]) else { return };
        let made_by = |wanted: &str| -> BTreeSet<&str> {
            let made = calls.iter().filter(|call| name(call) == wanted);
            made.map(|call| call.thread.as_str()).collect()
        };
        let cached = |call: &&Call| name(call) == "openat2" && call.contains("RESOLVE_CACHED");
        let tried: BTreeSet<_> = calls.iter().filter(cached).map(|call| &*call.thread).collect();
        let reactors = made_by("recvfrom");
        assert!(!tried.is_empty() && tried.is_subset(&reactors), "{way}: {tried:?}");
        let workers: Vec<_> = made_by("openat2").difference(&reactors).copied().collect();
        // One of them is the thread that opened the root.
        assert!(workers.len() > 1, "{way}: {workers:?}");
    }
}

/// What came on a connection, be it that it was reset.
fn whatever_came(mut stream: TcpStream) -> Vec<u8> {
    let mut got = Vec::new();
    let error = stream.read_to_end(&mut got).err().map(|error| error.kind());
    assert!(error.is_none_or(|kind| kind == ErrorKind::ConnectionReset), "{error:?}");
    got
}

/// The bound of the machine on threads, or of a container: a connection for which there is none is
/// closed, and everybody else has what they had.
#[test]
fn where_no_thread_can_be_had_a_connection_ends_and_no_other() {
    let root = root();
    for topology in [Topology::Single, Topology::Workers] {
        let way = Way { model: Model::Blocking, topology, via: Via::Sendfile };
        // Counted for each thread: the first of all makes fewer, the one that accepts makes these.
        let inject = "inject=clone3:error=EAGAIN:when=5..6";
        let Some(traced) = Traced::start_with(&["-e", inject], way, root.path()) else { return };
        let mut busy: Vec<_> = (0..4).map(|_| traced.server.connect()).collect();
        for client in &mut busy {
            assert_eq!(client.get("/other").status, 200, "{way}");
            client.send("GET /other HT");
        }
        for _ in 0..2 {
            let stream = TcpStream::connect(traced.server.address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            assert!(whatever_came(stream).is_empty(), "{way}");
        }
        assert!(traced.server.get("/other").body == pattern(100), "{way}");
        for client in &mut busy {
            client.send("TP/1.1\r\nHost: test\r\n\r\n");
            assert!(client.response(false).body == pattern(100), "{way}");
        }
        assert_eq!(injected(&traced.end().1, "clone3"), 2, "{way}");
    }
}
