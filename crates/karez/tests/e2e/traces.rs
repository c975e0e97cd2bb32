//! Traces: the system calls of an answer, counted. A via that is claimed is a via that ran.

use karez_reactor::Model;
use karez_transfer::Via;
use rustix::process::Signal;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::files::pattern;
use crate::server::Server;
use crate::ways::{self, Way};

const MIB: usize = 1 << 20;

/// A server under strace, and where its trace goes.
struct Traced {
    server: Server,
    directory: tempfile::TempDir,
}

impl Traced {
    /// `None`, with a reason, where strace is missing or not permitted.
    fn start(way: Way, root: &Path) -> Option<Self> {
        let mut probe = Command::new("strace");
        probe.args(["-o", "/dev/null", "true"]).stderr(Stdio::null());
        if !probe.status().is_ok_and(|status| status.success()) {
            println!("skipped: strace is missing or may not trace");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("trace");
        let strace = ["strace", "-f", "-qq", "-s", "4096", "-o", output.to_str().unwrap()];
        let flags = ["--log", "off"];
        Some(Self { server: Server::start_under(&strace, way, root, &flags), directory })
    }

    /// Ends the server and gives the calls it made, a line each, without the process number.
    fn calls(self) -> Vec<String> {
        // The tracer passes a signal on to nobody; the server is its child.
        let children = format!("/proc/{0}/task/{0}/children", self.server.pid());
        let child = fs::read_to_string(children).unwrap();
        let child = child.split_whitespace().next().unwrap().parse().unwrap();
        let child = rustix::process::Pid::from_raw(child).unwrap();
        rustix::process::kill_process(child, Signal::TERM).unwrap();
        let (status, _) = self.server.wait();
        assert!(status.success());
        let trace = fs::read_to_string(self.directory.path().join("trace")).unwrap();
        joined(&trace)
    }
}

/// The calls of a trace; one that was interrupted by another thread's stands on two lines.
fn joined(trace: &str) -> Vec<String> {
    let mut open: Vec<(&str, String)> = Vec::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let (thread, call) = line.split_once(' ').unwrap();
        let call = call.trim_start();
        if let Some(begun) = call.strip_suffix(" <unfinished ...>") {
            open.push((thread, begun.to_owned()));
        } else if let Some((_, rest)) = call.split_once(" resumed>") {
            let place = open.iter().position(|(owner, _)| *owner == thread).unwrap();
            calls.push(open.remove(place).1 + rest);
        } else {
            calls.push(call.to_owned());
        }
    }
    calls
}

fn name(call: &str) -> &str {
    call.split('(').next().unwrap()
}

fn count(calls: &[String], wanted: &str) -> usize {
    calls.iter().filter(|call| name(call) == wanted).count()
}

/// What a call returned.
fn returned(call: &str) -> i64 {
    call.rsplit(" = ").next().unwrap().split_whitespace().next().unwrap().parse().unwrap_or(0)
}

/// A root with files old enough to be kept open.
fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    for (name, size) in [("small", 1024), ("large", MIB)] {
        let path = root.path().join(name);
        fs::write(&path, pattern(size)).unwrap();
        File::open(&path).unwrap().set_modified(hour_ago).unwrap();
    }
    root
}

/// The calls from the one that received `request` on.
fn after<'a>(calls: &'a [String], request: &str) -> &'a [String] {
    let is_it = |call: &String| name(call) == "recvfrom" && call.contains(request);
    let at = calls.iter().position(is_it).unwrap_or_else(|| panic!("{request} was not received"));
    &calls[at..]
}

#[test]
fn a_large_file_leaves_by_its_via_behind_a_head_that_waits_for_it() {
    let root = root();
    for way in ways::all() {
        let Some(traced) = Traced::start(way, root.path()) else { return };
        assert!(traced.server.get("/large").body == pattern(MIB), "{way}");
        let calls = traced.calls();
        let calls = after(&calls, "GET /large");
        let head = calls.iter().find(|call| call.contains("HTTP/1.1 200 OK")).unwrap();
        assert!(name(head) == "sendto" && head.contains("MSG_MORE"), "{way}: {head:.300}");
        let by_sendfile: i64 =
            calls.iter().filter(|call| name(call) == "sendfile").map(|call| returned(call)).sum();
        let read: i64 =
            calls.iter().filter(|call| name(call) == "pread64").map(|call| returned(call)).sum();
        let moved = match way.via {
            Via::Sendfile => (MIB as i64, 0),
            Via::Copy => (0, MIB as i64),
        };
        assert_eq!((by_sendfile, read.min(MIB as i64)), moved, "{way}");
    }
}

#[test]
fn a_request_for_a_small_file_costs_at_most_five_calls() {
    const REQUESTS: usize = 100;
    let root = root();
    for way in ways::all() {
        let Some(traced) = Traced::start(way, root.path()) else { return };
        let mut client = traced.server.connect();
        client.get("/small");
        client.get("/small?first");
        for _ in 0..REQUESTS {
            assert_eq!(client.get("/small").body.len(), 1024, "{way}");
        }
        client.get("/small?last");
        let calls = traced.calls();
        let from = after(&calls, "GET /small?first").len();
        let to = after(&calls, "GET /small?last").len();
        let calls = &calls[calls.len() - from..calls.len() - to];
        let each = calls.len() as f64 / (REQUESTS + 1) as f64;
        println!("{way}: {each:.2} system calls a request");
        assert!(calls.len() <= 5 * (REQUESTS + 1), "{way}: {each} calls: {:#?}", &calls[..8]);
    }
}

#[test]
fn a_model_waits_by_its_own_calls() {
    let root = root();
    for way in ways::layouts() {
        let Some(traced) = Traced::start(way, root.path()) else { return };
        for _ in 0..10 {
            let mut client = traced.server.connect();
            for _ in 0..10 {
                client.get("/small");
            }
        }
        let calls = traced.calls();
        let accepted = calls.iter().filter(|call| name(call) == "accept4" && returned(call) >= 0);
        assert_eq!(accepted.count(), 10, "{way}");
        let of_connections =
            calls.iter().filter(|call| name(call) == "epoll_ctl" && call.contains("EPOLLOUT"));
        let registered = of_connections.count();
        let reactors = count(&calls, "epoll_create1");
        match way.model {
            Model::Blocking => {
                assert_eq!((reactors, count(&calls, "epoll_pwait")), (0, 0), "{way}");
            }
            // Each reactor registers its listener and its eventfd, and each connection once.
            Model::EpollEdge => assert_eq!(registered, 10 + 2 * reactors, "{way}"),
        }
    }
}

#[test]
fn a_connection_registered_once_sets_no_option_of_its_own() {
    let root = root();
    for way in ways::layouts().filter(|way| way.model != Model::Blocking) {
        let Some(traced) = Traced::start(way, root.path()) else { return };
        traced.server.get("/small");
        let calls = traced.calls();
        let calls = after(&calls, "GET /small");
        // TCP_NODELAY comes from the listener.
        assert_eq!(count(calls, "setsockopt"), 0, "{way}");
    }
}
