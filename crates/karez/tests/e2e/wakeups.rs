//! Wake-ups and signals while system calls fail: none is lost permanently, a transient error does
//! not end the server, and a failed thread creation is an error.

use karez_reactor::{Model, Topology};
use karez_transfer::Via;
use rustix::process::{Signal, geteuid, kill_process};
use std::fs::{self, File, Permissions};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::files::pattern;
use crate::layouts::{self, Layout};
use crate::server::KAREZ;
use crate::strace::{self, Traced, injected};
use crate::timeouts::TEST_TIMEOUT;

const SIZE: usize = (1 << 20) + 3;

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    let path = root.path().join("file");
    fs::write(&path, pattern(SIZE)).unwrap();
    File::open(&path).unwrap().set_modified(hour_ago).unwrap();
    root
}

/// Returns the call with which a reactor waits.
fn wait_of(layout: Layout) -> Option<&'static str> {
    match layout.model {
        Model::PosixAio => Some("poll,ppoll"), // as glibc or rustix makes it
        _ => layout.wait_call(),
    }
}

#[test]
fn failed_wake_up_writes_are_not_lost() {
    let root = root();
    // Per thread: the first writes succeed, since one of them prints the first line.
    let inject = "inject=write,writev:error=EIO:when=3..8";
    // Not posix-aio, which also sends by such writes.
    let pooled = |layout: &Layout| {
        layout.topology.has_workers() && ![Model::Blocking, Model::PosixAio].contains(&layout.model)
    };
    for layout in layouts::all().filter(pooled) {
        let Some(traced) = Traced::start_with(&["-e", inject], layout, root.path()) else { return };
        // A listing is a job of a worker thread, whose completion is signalled by a write.
        let mut clients: Vec<_> = (0..4).map(|_| traced.server.connect()).collect();
        for _ in 0..6 {
            for client in &mut clients {
                assert_eq!(client.get("/").status, 200, "{layout}");
            }
        }
        drop(clients);
        let calls = traced.end().1;
        let failed = injected(&calls, "write") + injected(&calls, "writev");
        assert!(failed > 0, "{layout}");
    }
}

#[test]
fn one_signal_stops_a_server_whose_signal_calls_fail() {
    let root = root();
    for (model, topology) in
        [(Model::EpollEdge, Topology::Single), (Model::Blocking, Topology::Single)]
    {
        let layout = Layout { model, topology, via: Via::Sendfile };
        for errno in ["EIO", "ENOMEM", "EAGAIN"] {
            let faults = ["recvfrom", "rt_sigtimedwait"]
                .map(|call| format!("inject={call}:error={errno}:when=1..3"));
            let faults: Vec<_> = faults.iter().flat_map(|fault| ["-e", fault]).collect();
            let Some(traced) = Traced::start_with(&faults, layout, root.path()) else { return };
            let child = traced.server.children()[0];
            kill_process(child, Signal::TERM).unwrap();
            assert!(traced.server.exits_within(TEST_TIMEOUT), "{layout}, {errno}: it continues");
            let calls = traced.ended().1;
            let failed = injected(&calls, "rt_sigtimedwait") + injected(&calls, "recvfrom");
            assert!(failed > 0, "{layout}, {errno}");
        }
    }
}

#[test]
fn transient_wait_errors_do_not_end_the_server() {
    let root = root();
    for (number, layout) in layouts::all().enumerate() {
        let Some(wait) = wait_of(layout) else { continue };
        for errno in layouts::cases(&["ENOMEM", "EBUSY", "ETIME"], number) {
            // The first calls detect whether the kernel has the call.
            let (trace, inject) =
                (format!("trace={wait}"), format!("inject={wait}:error={errno}:when=3+2"));
            let faults = ["--seccomp-bpf", "-e", &trace, "-e", &inject];
            let Some(traced) = Traced::start_with(&faults, layout, root.path()) else { return };
            let mut client = traced.server.connect();
            for _ in 0..5 {
                assert!(client.get("/file").body == pattern(SIZE), "{layout}, {errno}");
            }
            drop(client);
            let calls = traced.end().1;
            let failed: usize = wait.split(',').map(|call| injected(&calls, call)).sum();
            assert!(failed > 0, "{layout}, {errno}");
        }
    }
}

#[test]
fn failed_thread_creation_is_reported_or_tolerated() {
    if !strace::may_trace() {
        return;
    }
    let root = root();
    for layout in layouts::all() {
        // Fails the creation of one of the first thread's children; some layouts have fewer.
        for which in 1..=6 {
            let trace = root.path().join("trace");
            let mut command = Command::new("strace");
            command.args(["-f", "-qq", "--seccomp-bpf", "-e", "trace=clone3", "-o"]).arg(&trace);
            command.args(["-e", &format!("inject=clone3:error=EAGAIN:when={which}")]);
            command.args([KAREZ, "serve"]).arg(root.path()).args(layout.flags());
            // Under a filter of system calls, threads are made by clone(2).
            command.args(["--listen", "127.0.0.1:0", "--log", "off", "--sandbox", "off"]);
            expect_service_or_error(command, &format!("{layout}, thread {which}"));
        }
    }
}

/// Expects the program to serve, or to exit with 1 and an error that names the call and the thread.
fn expect_service_or_error(mut command: Command, what: &str) {
    println!("{what}");
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut printed = String::new();
    let mut stderr = child.stderr.take().unwrap();
    let mut part = [0; 4096];
    // It may print its address before the error.
    while !printed.ends_with('\n') {
        let count = stderr.read(&mut part).unwrap();
        assert!(count > 0, "{what}: {printed}");
        printed += std::str::from_utf8(&part[..count]).unwrap();
    }
    let address = printed.split("http://").nth(1).and_then(|rest| rest.split('/').next());
    if address.is_some_and(serves) {
        let path = format!("/proc/{0}/task/{0}/children", child.id());
        for served in fs::read_to_string(path).unwrap().split_whitespace() {
            let pid = rustix::process::Pid::from_raw(served.parse().unwrap()).unwrap();
            kill_process(pid, Signal::KILL).unwrap();
        }
        child.wait().unwrap();
        return;
    }
    stderr.read_to_string(&mut printed).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(1), "{what}: {printed}");
    let named = printed.contains("clone3, for thread karez-") && printed.contains("(os error 11)");
    assert!(named, "{what}: {printed}");
}

/// Returns whether the server that printed this address responds; it may have exited.
fn serves(address: &str) -> bool {
    use std::io::{BufRead as _, BufReader, Write as _};
    let Ok(mut stream) = std::net::TcpStream::connect(address) else { return false };
    stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    let sent = stream.write_all(b"GET /file HTTP/1.0\r\n\r\n");
    let mut line = String::new();
    sent.is_ok() && BufReader::new(stream).read_line(&mut line).is_ok() && line.contains(" 200 ")
}

/// With a real limit, which applies to unprivileged users only.
#[test]
fn thread_limit_is_reported() {
    let root = root();
    fs::set_permissions(root.path(), Permissions::from_mode(0o755)).unwrap();
    let limit = ["prlimit", "--nproc=1:1"];
    let mut words = limit.to_vec();
    if geteuid().is_root() {
        words.splice(0..0, ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    let may = |arguments: &[&str]| {
        let mut probe = Command::new(words[0]);
        probe
            .args(&words[1..words.len()])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    };
    if !may(&[KAREZ, "--version"]) {
        println!("skipped: no other user, or none who may run the program, or no prlimit");
        return;
    }
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).args([KAREZ, "serve"]).arg(root.path());
    command.args(["--listen", "127.0.0.1:0"]).stdin(Stdio::null());
    let output = command.output().unwrap();
    let printed = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(
        printed.contains("clone3, for thread karez-") && printed.contains("(os error 11)"),
        "{printed}"
    );
}
