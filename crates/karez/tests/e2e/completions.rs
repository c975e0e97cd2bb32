//! Completion models: which threads make the system calls, and the errors for denied mechanisms.

use karez_reactor::{Model, Topology};
use karez_transfer::Via;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Error, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use crate::client::Client;
use crate::files::pattern;
use crate::layouts::{self, Layout};
use crate::server::{KAREZ, Server};
use crate::strace::{self, Call, Traced, count, name, returned};
use crate::timeouts::TEST_TIMEOUT;

const MIB: usize = 1 << 20;

/// More than all socket buffers hold.
const LARGE: usize = 64 << 20;

/// System calls that move bytes or wait for them.
const IO: [&str; 16] = [
    "accept4",
    "recvfrom",
    "recvmsg",
    "sendto",
    "sendmsg",
    "sendfile",
    "splice",
    "pread64",
    "preadv2",
    "writev",
    "epoll_pwait",
    "epoll_ctl",
    "ppoll",
    "pselect6",
    "io_submit",
    "io_getevents",
];

/// System calls for the hot files of an event loop: a poll of the watches, and the read of a content
/// that is kept.
const HOT_FILES: [&str; 2] = ["ppoll", "preadv2"];

fn layout(model: Model, via: Via) -> Layout {
    Layout { model, topology: Topology::Single, via }
}

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("small"), pattern(1024)).unwrap();
    fs::write(root.path().join("mib"), pattern(MIB)).unwrap();
    File::create(root.path().join("large")).unwrap().set_len(LARGE as u64).unwrap();
    root
}

/// Returns the system calls of a server that has answered a few requests.
fn calls(layout: Layout, root: &tempfile::TempDir) -> Option<Vec<Call>> {
    let traced = Traced::start(layout, root.path())?;
    let mut client = traced.server.connect();
    for _ in 0..10 {
        assert!(client.get("/small").body == pattern(1024), "{layout}");
        assert!(client.get("/mib").body == pattern(MIB), "{layout}");
    }
    let mut calls = traced.end().1;
    // The handler of the final signal may run on any thread, and sends.
    let end = calls.iter().position(|call| call.contains("--- SIGTERM")).unwrap_or(calls.len());
    calls.truncate(end);
    Some(calls)
}

fn threads_that_call<'a>(calls: &'a [Call], wanted: &str) -> BTreeSet<&'a str> {
    calls.iter().filter(|call| name(call) == wanted).map(|call| call.thread.as_str()).collect()
}

#[test]
fn uring_submits_all_io_to_the_ring() {
    let root = root();
    for via in [Via::Copy, Via::Splice, Via::Zerocopy] {
        let layout = layout(Model::Uring, via);
        let Some(calls) = calls(layout, &root) else { return };
        let reactors = threads_that_call(&calls, "io_uring_enter");
        assert_eq!(reactors.len(), 1, "{layout}: {reactors:?}");
        let is_reactor = |call: &&Call| reactors.contains(call.thread.as_str());
        let made: BTreeSet<_> = calls
            .iter()
            .filter(is_reactor)
            .map(|call| name(call))
            .filter(|n| IO.contains(n) && !HOT_FILES.contains(n))
            .collect();
        assert!(made.is_empty(), "{layout}: {made:?}");
        // The only visible call of a splice is the one that sizes its pipe.
        let sized = calls.iter().filter(|call| call.contains("F_SETPIPE_SZ")).count();
        assert_eq!(sized > 0, via == Via::Splice, "{layout}: {sized} pipes");
    }
}

#[test]
fn uring_serves_a_small_file_with_two_calls() {
    const REQUESTS: usize = 100;
    let root = root();
    let layout = layout(Model::Uring, Via::Copy);
    let Some(traced) = Traced::start(layout, root.path()) else { return };
    let mut client = traced.server.connect();
    for _ in 0..REQUESTS {
        assert_eq!(client.get("/small").body.len(), 1024, "{layout}");
    }
    let calls = traced.end().1;
    let enters = count(&calls, "io_uring_enter");
    println!("{layout}: {:.2} io_uring_enter a request", enters as f64 / REQUESTS as f64);
    // Each request may take one more call that finds the read and the send still in flight.
    assert!(enters <= 2 * REQUESTS + 20, "{enters}");
}

#[test]
fn posix_aio_calls_run_on_glibc_threads() {
    let root = root();
    let layout = layout(Model::PosixAio, Via::Copy);
    let Some(calls) = calls(layout, &root) else { return };
    let accepting = threads_that_call(&calls, "accept4");
    assert_eq!(accepting.len(), 1, "{accepting:?}");
    // glibc first tries a socket as a seekable file.
    let refused = |wanted: &str| -> BTreeSet<_> {
        let refused = calls.iter().filter(|call| name(call) == wanted && call.contains("ESPIPE"));
        refused.map(|call| call.thread.as_str()).collect()
    };
    let (reading, writing) = (refused("pread64"), refused("pwrite64"));
    assert!(!reading.is_empty() && !writing.is_empty());
    assert!(reading.is_disjoint(&accepting) && writing.is_disjoint(&accepting));
    let is_reactor = |call: &&Call| accepting.contains(call.thread.as_str());
    let sockets = ["recvfrom", "sendto", "pread64", "sendfile", "splice", "io_uring_enter"];
    let made: BTreeSet<_> = calls
        .iter()
        .filter(is_reactor)
        .map(|call| name(call))
        .filter(|n| sockets.contains(n))
        .collect();
    assert!(made.is_empty(), "{made:?}");
    // The head is sent with the first part of its file, and the rest of the file follows.
    let moved =
        calls.iter().filter(|call| name(call) == "write" && writing.contains(&*call.thread));
    assert!(moved.map(|call| returned(call)).sum::<i64>() > 10 * MIB as i64);
}

/// Returns the error line of a server that cannot start under strace with `inject`.
fn refusal(inject: &str, model: Model) -> String {
    let root = root();
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", inject, KAREZ]);
    command.arg("serve").arg(root.path()).args(["--model", model.name()]);
    let output = command.args(["--listen", "127.0.0.1:0"]).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn unavailable_model_is_reported_in_one_line() {
    if !strace::may_trace() {
        return;
    }
    for (call, errno, model, expected) in [
        ("io_uring_setup", "EPERM", Model::Uring, "Operation not permitted (os error 1)"),
        ("io_uring_setup", "ENOSYS", Model::Uring, "Function not implemented (os error 38)"),
        ("io_uring_setup", "EOPNOTSUPP", Model::Uring, "Operation not supported (os error 95)"),
        ("io_uring_setup", "ENOMEM", Model::Uring, "Cannot allocate memory (os error 12)"),
        ("io_setup", "EAGAIN", Model::LinuxAio, "temporarily unavailable (os error 11)"),
        ("io_setup", "ENOSYS", Model::LinuxAio, "Function not implemented (os error 38)"),
    ] {
        let printed = refusal(&format!("inject={call}:error={errno}"), model);
        assert_eq!(printed.lines().count(), 1, "{printed}");
        assert!(printed.contains(call) && printed.contains(expected), "{printed}");
    }
}

/// Where descriptors are few, connections wait in the queue of the listener and take none: so there is one for each
/// file. A connection whose request has not arrived yet may be evicted.
#[test]
fn more_clients_than_descriptors_get_files_and_no_503() {
    if Command::new("prlimit").arg("--version").output().is_err() {
        println!("skipped: prlimit is missing");
        return;
    }
    let root = root();
    for layout in layouts::each_model() {
        let prefix = ["prlimit", "--nofile=64:64"];
        let server = Server::start_under(&prefix, layout, root.path(), &["--log", "off"]);
        let clients: Vec<_> = (0..300)
            .map(|_| {
                let mut client = TcpStream::connect(server.address).unwrap();
                let request = b"GET /small HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
                // It fails if the connection was evicted.
                let _sent = client.write_all(request);
                client.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
                client
            })
            .collect();
        let statuses: Vec<_> = clients
            .into_iter()
            .filter_map(|mut client| {
                let mut status = [0; 12];
                let received = client.read_exact(&mut status);
                let timed_out = |error: &Error| {
                    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
                };
                assert!(!received.as_ref().is_err_and(timed_out), "{layout}: no answer");
                received.ok().map(|()| status)
            })
            .collect();
        assert!(statuses.len() > 100, "{layout}: {} are answered", statuses.len());
        assert!(statuses.iter().all(|status| status == b"HTTP/1.1 200"), "{layout}");
    }
}

/// A multishot accept uses the descriptor limit of its submission, so the limit is set before the
/// server starts.
#[test]
fn uring_pauses_accepting_without_descriptors_and_resumes() {
    let root = root();
    let layout = layout(Model::Uring, Via::Copy);
    let prefix = ["prlimit", "--nofile=40:40"];
    if Command::new("prlimit").arg("--version").output().is_err() {
        println!("skipped: prlimit is missing");
        return;
    }
    let flags = ["--log", "off", "--max-connections", "1000"];
    let server = Server::start_under(&prefix, layout, root.path(), &flags);
    let mut busy: Vec<Client> = (0..60).map(|_| server.connect()).collect();
    for client in &mut busy {
        client.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    server.wait_until("all descriptors are taken", || server.descriptors().len() >= 39);
    drop(busy);
    // The connection may have got the last descriptor, with none free for the file.
    server.wait_until("a descriptor for a new connection is free", || {
        server.get("/small").status == 200
    });
}
