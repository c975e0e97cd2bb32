//! Completion models: who makes the calls, and what is said where the kernel refuses.

use karez_reactor::{Model, Topology};
use karez_transfer::Via;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::process::Command;

use crate::client::Client;
use crate::files::pattern;
use crate::server::{KAREZ, Server};
use crate::strace::{self, Call, Traced, count, name, returned};
use crate::ways::Way;

const MIB: usize = 1 << 20;

/// More than all socket buffers hold.
const LARGE: usize = 64 << 20;

/// Calls that move bytes, or wait for them.
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

fn way(model: Model, via: Via) -> Way {
    Way { model, topology: Topology::Single, via }
}

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("small"), pattern(1024)).unwrap();
    fs::write(root.path().join("mib"), pattern(MIB)).unwrap();
    File::create(root.path().join("large")).unwrap().set_len(LARGE as u64).unwrap();
    root
}

/// The calls of a server that has answered a few requests.
fn calls(way: Way, root: &tempfile::TempDir) -> Option<Vec<Call>> {
    let traced = Traced::start(way, root.path())?;
    let mut client = traced.server.connect();
    for _ in 0..10 {
        assert!(client.get("/small").body == pattern(1024), "{way}");
        assert!(client.get("/mib").body == pattern(MIB), "{way}");
    }
    let mut calls = traced.end().1;
    // The handler of the signal that ends the server may run in any thread, and sends.
    let end = calls.iter().position(|call| call.contains("--- SIGTERM")).unwrap_or(calls.len());
    calls.truncate(end);
    Some(calls)
}

fn threads_that_call<'a>(calls: &'a [Call], wanted: &str) -> BTreeSet<&'a str> {
    calls.iter().filter(|call| name(call) == wanted).map(|call| call.thread.as_str()).collect()
}

#[test]
fn with_uring_all_io_is_in_the_ring() {
    let root = root();
    for via in [Via::Copy, Via::Splice, Via::Zerocopy] {
        let way = way(Model::Uring, via);
        let Some(calls) = calls(way, &root) else { return };
        let reactors = threads_that_call(&calls, "io_uring_enter");
        assert_eq!(reactors.len(), 1, "{way}: {reactors:?}");
        let is_reactor = |call: &&Call| reactors.contains(call.thread.as_str());
        let made: BTreeSet<_> = calls
            .iter()
            .filter(is_reactor)
            .map(|call| name(call))
            .filter(|n| IO.contains(n))
            .collect();
        assert!(made.is_empty(), "{way}: {made:?}");
        // What cannot be seen of a splice but the pipe that it needs.
        let sized = calls.iter().filter(|call| call.contains("F_SETPIPE_SZ")).count();
        assert_eq!(sized > 0, via == Via::Splice, "{way}: {sized} pipes");
    }
}

#[test]
fn a_request_for_a_small_file_costs_two_calls_with_uring() {
    const REQUESTS: usize = 100;
    let root = root();
    let way = way(Model::Uring, Via::Copy);
    let Some(traced) = Traced::start(way, root.path()) else { return };
    let mut client = traced.server.connect();
    for _ in 0..REQUESTS {
        assert_eq!(client.get("/small").body.len(), 1024, "{way}");
    }
    let calls = traced.end().1;
    let enters = count(&calls, "io_uring_enter");
    println!("{way}: {:.2} io_uring_enter a request", enters as f64 / REQUESTS as f64);
    // One more for each may find the read and the send on their way.
    assert!(enters <= 2 * REQUESTS + 20, "{enters}");
}

#[test]
fn with_posix_aio_the_calls_are_those_of_other_threads() {
    let root = root();
    let way = way(Model::PosixAio, Via::Copy);
    let Some(calls) = calls(way, &root) else { return };
    let accepting = threads_that_call(&calls, "accept4");
    assert_eq!(accepting.len(), 1, "{accepting:?}");
    // glibc takes a socket for a file first.
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
    // A head leaves with the first part of its file, and all of the file leaves.
    let moved =
        calls.iter().filter(|call| name(call) == "write" && writing.contains(&*call.thread));
    assert!(moved.map(|call| returned(call)).sum::<i64>() > 10 * MIB as i64);
}

/// What the program says when it cannot begin, under strace with `inject`.
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
fn a_model_that_the_kernel_refuses_is_one_clear_line() {
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
        let said = refusal(&format!("inject={call}:error={errno}"), model);
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(call) && said.contains(expected), "{said}");
    }
}

/// A multishot accept knows the limit on descriptors of when it was begun, so this server has its
/// limit from the beginning.
#[test]
fn without_descriptors_uring_waits_and_goes_on() {
    let root = root();
    let way = way(Model::Uring, Via::Copy);
    let prefix = ["prlimit", "--nofile=40:40"];
    if Command::new("prlimit").arg("--version").output().is_err() {
        println!("skipped: prlimit is missing");
        return;
    }
    let flags = ["--log", "off", "--max-connections", "1000"];
    let server = Server::start_under(&prefix, way, root.path(), &flags);
    let mut busy: Vec<Client> = (0..60).map(|_| server.connect()).collect();
    for client in &mut busy {
        client.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    server.until("all descriptors are taken", || server.descriptors().len() >= 39);
    drop(busy);
    // There may have been a descriptor for the connection and none yet for the file.
    server.until("there is one for a newcomer", || server.get("/small").status == 200);
}
