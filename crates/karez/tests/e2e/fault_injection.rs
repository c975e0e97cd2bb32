//! Fault injection: system calls that seldom fail are made to fail. The bytes are correct or the
//! connection ends cleanly, and the server continues. (An injected `EAGAIN` would be invalid: no
//! edge ever follows it.)

use karez_reactor::{Model, Topology};
use karez_transfer::Via;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::files::pattern;
use crate::layouts::{self, Layout};
use crate::server::Server;
use crate::strace::{Call, Traced, count, injected, name};
use crate::timeouts::TEST_TIMEOUT;

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

/// Fetches both files under a fault injected into these calls and expects them complete. Returns these
/// calls and each pread64 and recvfrom; no other call stops the server, where the kernel has seccomp.
fn expect_all(layout: Layout, root: &Path, faulty: &str, fault: &str) -> Option<Vec<Call>> {
    let trace = format!("trace={faulty},pread64,recvfrom");
    let inject = format!("inject={faulty}:{fault}");
    let flags = ["--seccomp-bpf", "-e", &trace, "-e", &inject];
    let traced = Traced::start_with(&flags, layout, root)?;
    let mut client = traced.server.connect();
    for _ in 0..2 {
        assert!(client.get("/file").body == pattern(SIZE), "{layout}, {inject}");
        assert!(client.get("/other").body == pattern(100), "{layout}, {inject}");
    }
    Some(traced.end().1)
}

#[test]
fn unsupported_sendfile_falls_back_at_the_first_call_and_later() {
    let root = root();
    let layouts = layouts::traced().filter(|layout| layout.via == Via::Sendfile);
    for (number, layout) in layouts.enumerate() {
        let first = [("EINVAL", "1+"), ("ENOSYS", "1+"), ("EPERM", "1+")];
        let later = [("EINVAL", "3+"), ("ENOSYS", "2+")];
        let cases = [layouts::cases(&first, number), layouts::cases(&later, number)].concat();
        for (errno, when) in cases {
            let fault = format!("error={errno}:when={when}");
            let Some(calls) = expect_all(layout, root.path(), "sendfile", &fault) else { return };
            assert!(injected(&calls, "sendfile") > 0, "{layout}, {fault}");
            assert!(count(&calls, "pread64") > 0, "{layout}, {fault}");
        }
    }
}

/// The first call of a via may fail with any errno; the bytes are then sent by plain reads.
#[test]
fn the_first_use_of_a_via_may_fail_with_any_errno() {
    let root = root();
    for (number, layout) in layouts::traced().enumerate() {
        let call = match layout.via {
            Via::Sendfile => "sendfile",
            Via::Splice => "splice",
            _ => continue,
        };
        for errno in layouts::cases(&["EIO", "EACCES"], number) {
            let fault = format!("error={errno}:when=1");
            let Some(calls) = expect_all(layout, root.path(), call, &fault) else { return };
            assert!(injected(&calls, call) > 0, "{layout}, {fault}");
        }
    }
}

#[test]
fn early_end_of_file_is_retried_or_closes_the_connection() {
    let root = root();
    for layout in layouts::traced() {
        let call = match layout.via {
            Via::Auto | Via::Sendfile => "sendfile",
            Via::Splice => "splice",
            _ => continue,
        };
        for when in [1, 3] {
            let fault = format!("retval=0:when={when}");
            let Some(calls) = expect_all(layout, root.path(), call, &fault) else { return };
            assert!(injected(&calls, call) > 0, "{layout}, {fault}");
        }
    }
}

/// Files of procfs and sysfs: one that cannot be mapped, and one that is shorter than its reported
/// size. Readable bytes are sent by every via.
#[test]
fn files_without_via_support_are_read() {
    for layout in layouts::all_with_vias() {
        let vmlinux = Path::new("/sys/kernel/btf/vmlinux");
        if let Ok(content) = fs::read(vmlinux) {
            let server = Server::start(layout, vmlinux.parent().unwrap());
            assert!(server.get("/vmlinux").body == content, "{layout}");
        } else {
            println!("skipped: there is no {}", vmlinux.display());
        }
        let page = Path::new("/sys/kernel/mm/transparent_hugepage/enabled");
        if let Ok(content) = fs::read(page) {
            let server = Server::start(layout, page.parent().unwrap());
            let mut client = server.connect();
            assert_eq!(client.start_get("/enabled").status, 200, "{layout}");
            assert!(client.read_to_end() == content, "{layout}");
        } else {
            println!("skipped: there is no {}", page.display());
        }
    }
}

#[test]
fn disk_error_ends_one_connection_and_is_reported() {
    let root = root();
    for layout in layouts::traced() {
        let call = match layout.via {
            Via::Auto | Via::Sendfile => "sendfile",
            Via::Splice => "splice",
            Via::Mmap | Via::Cow | Via::Zerocopy => "fstat",
            Via::Copy | Via::Direct => "pread64",
            _ => unreachable!("no way to a socket"),
        };
        let inject = format!("inject={call}:error=EIO:when=3");
        let Some(traced) = Traced::start_with(&["-e", &inject], layout, root.path()) else {
            return;
        };
        let mut client = traced.server.connect();
        assert_eq!(client.start_get("/file").status, 200, "{layout}");
        let got = client.read_to_end();
        assert!(got.len() < SIZE && pattern(SIZE).starts_with(&got), "{layout}: {}", got.len());
        assert!(traced.server.get("/other").body == pattern(100), "{layout}: it continues");
        let (printed, calls) = traced.end();
        assert_eq!(injected(&calls, call), 1, "{layout}");
        assert!(
            printed.contains("GET /file") && printed.contains("os error 5"),
            "{layout}: {printed}"
        );
    }
}

#[test]
fn interrupted_system_calls_are_repeated() {
    let root = root();
    for layout in layouts::traced() {
        // strace counts per call, so each is interrupted as if it were the only one.
        let interrupted = ["sendto", "recvfrom", "sendfile", "accept4", "openat2"];
        let interrupted: Vec<_> = interrupted.into_iter().chain(layout.wait_call()).collect();
        let fault = "error=EINTR:when=2+2";
        let Some(calls) = expect_all(layout, root.path(), &interrupted.join(","), fault) else {
            return;
        };
        for call in interrupted {
            let made = count(&calls, call);
            assert!(injected(&calls, call) > 0 || made < 2, "{layout}, {call}: {made} calls");
        }
    }
}

#[test]
fn interrupted_reads_are_repeated() {
    let root = root();
    // A file that is requested twice may be sent from memory.
    for number in 0..30 {
        fs::write(root.path().join(format!("other-{number}")), pattern(100)).unwrap();
    }
    for layout in layouts::traced() {
        // The first calls belong to the dynamic loader.
        let inject = "inject=pread64,preadv2:error=EINTR:when=20+2";
        let Some(traced) = Traced::start_with(&["-e", inject], layout, root.path()) else { return };
        let mut client = traced.server.connect();
        for number in 0..30 {
            let target = format!("/other-{number}");
            assert!(client.get(&target).body == pattern(100), "{layout}");
        }
        assert!(client.get("/file").body == pattern(SIZE), "{layout}");
        let calls = traced.end().1;
        assert!(injected(&calls, "pread64") + injected(&calls, "preadv2") > 0, "{layout}");
    }
}

#[test]
fn accepting_pauses_without_descriptors_and_resumes() {
    let root = root();
    let layouts = layouts::all().filter(|layout| !layout.model.is_completion());
    for (number, layout) in layouts.enumerate() {
        for errno in layouts::cases(&["EMFILE", "ENFILE", "ENOMEM", "ECONNABORTED"], number) {
            let fault = format!("error={errno}:when=1..3");
            let Some(calls) = expect_all(layout, root.path(), "accept4", &fault) else { return };
            assert!(injected(&calls, "accept4") > 0, "{layout}, {errno}");
        }
    }
}

#[test]
fn transient_open_errors_have_a_status_and_recover() {
    let root = root();
    for (number, layout) in layouts::all().enumerate() {
        // strace counts per thread: the first call opens the root or finds nothing.
        let errors = [("EMFILE", 503), ("EIO", 500), ("EACCES", 403)];
        for &(errno, status) in layouts::cases(&errors, number) {
            if errno == "EACCES" && layout.model != Model::Blocking && layout.topology.has_workers()
            {
                continue; // a worker looks again, with a count of its own
            }
            let inject = format!("inject=openat2:error={errno}:when=2..3");
            let Some(traced) = Traced::start_with(&["-e", &inject], layout, root.path()) else {
                return;
            };
            let mut client = traced.server.connect();
            assert_eq!(client.get("/nothing").status, 404, "{layout}, {errno}");
            assert_eq!(client.get("/other").status, status, "{layout}, {errno}");
            while client.get("/other").status != 200 {}
            assert!(injected(&traced.end().1, "openat2") > 0, "{layout}, {errno}");
        }
    }
}

#[test]
fn openat2_is_retried_after_a_rename_race() {
    let root = root();
    for layout in layouts::all() {
        // Per thread: the first call opens the root, a reactor with a pool tries once.
        let fault = "error=EAGAIN:when=1..3";
        let Some(calls) = expect_all(layout, root.path(), "openat2", fault) else { return };
        assert!(injected(&calls, "openat2") > 3, "{layout}");
    }
}

#[test]
fn uncached_names_are_opened_by_a_worker() {
    let root = root();
    let pooled = |layout: &Layout| {
        let reacts = layout.model != Model::Blocking && !layout.model.is_completion();
        reacts && layout.topology.has_workers()
    };
    for layout in layouts::all().filter(pooled) {
        // The kernel's error for a name that is not in its caches.
        let fault = "error=EAGAIN:when=1..2";
        let Some(calls) = expect_all(layout, root.path(), "openat2", fault) else { return };
        let made_by = |wanted: &str| -> BTreeSet<&str> {
            let made = calls.iter().filter(|call| name(call) == wanted);
            made.map(|call| call.thread.as_str()).collect()
        };
        let cached = |call: &&Call| name(call) == "openat2" && call.contains("RESOLVE_CACHED");
        let tried: BTreeSet<_> = calls.iter().filter(cached).map(|call| &*call.thread).collect();
        let reactors = made_by("recvfrom");
        assert!(!tried.is_empty() && tried.is_subset(&reactors), "{layout}: {tried:?}");
        let workers: Vec<_> = made_by("openat2").difference(&reactors).copied().collect();
        // One of them is the thread that opened the root.
        assert!(workers.len() > 1, "{layout}: {workers:?}");
    }
}

/// Reads until the end of the connection or a reset.
fn read_until_closed(mut stream: TcpStream) -> Vec<u8> {
    let mut got = Vec::new();
    let error = stream.read_to_end(&mut got).err().map(|error| error.kind());
    assert!(error.is_none_or(|kind| kind == ErrorKind::ConnectionReset), "{error:?}");
    got
}

/// At the thread limit of the machine or of a container, a connection without a thread is closed,
/// and all other connections continue.
#[test]
fn failed_thread_creation_closes_one_connection() {
    /// More than all socket buffers hold.
    const LARGE: usize = 16 << 20;
    let root = root();
    File::create(root.path().join("large")).unwrap().set_len(LARGE as u64).unwrap();
    for topology in [Topology::Single, Topology::Workers] {
        let layout = Layout { model: Model::Blocking, topology, via: Via::Sendfile };
        // Counted per thread: the first thread makes fewer, the accepting thread makes these.
        let inject = "inject=clone3:error=EAGAIN:when=8..9";
        let Some(traced) = Traced::start_with(&["-e", inject], layout, root.path()) else { return };
        let mut busy: Vec<_> = (0..7).map(|_| traced.server.connect()).collect();
        for client in &mut busy {
            // So none is idle, and evicted: the thread of half a request may not have noted yet that it has begun.
            client.limit_receive_buffer();
            assert_eq!(client.start_get("/large").status, 200, "{layout}");
        }
        for _ in 0..2 {
            let stream = TcpStream::connect(traced.server.address).unwrap();
            stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
            assert!(read_until_closed(stream).is_empty(), "{layout}");
        }
        assert!(traced.server.get("/other").body == pattern(100), "{layout}");
        for client in &mut busy {
            assert_eq!(client.read_body(LARGE).len(), LARGE, "{layout}");
        }
        assert_eq!(injected(&traced.end().1, "clone3"), 2, "{layout}");
    }
}
