//! What a server hears from its own threads and from the kernel while calls fail: no wake-up and no
//! signal is lost for good, an error that passes is no end, and a thread that cannot be made is an
//! error.

use karez_reactor::{Model, Topology};
use karez_transfer::Via;
use rustix::process::{Signal, geteuid, kill_process};
use std::fs::{self, File, Permissions};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::files::pattern;
use crate::patience::PATIENCE;
use crate::server::KAREZ;
use crate::strace::{self, Traced, injected};
use crate::ways::{self, Way};

const SIZE: usize = (1 << 20) + 3;

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    let path = root.path().join("file");
    fs::write(&path, pattern(SIZE)).unwrap();
    File::open(&path).unwrap().set_modified(hour_ago).unwrap();
    root
}

/// The call by which a reactor waits.
fn wait_of(way: Way) -> Option<&'static str> {
    match way.model {
        Model::PosixAio => Some("poll,ppoll"), // as glibc or rustix makes it
        _ => way.wait(),
    }
}

#[test]
fn a_wake_up_whose_write_fails_is_not_lost() {
    let root = root();
    // Of each thread: its first writes succeed, for one of them says where the server listens.
    let inject = "inject=write,writev:error=EIO:when=3..8";
    // Not posix-aio, which sends by such writes, too.
    let pooled = |way: &Way| {
        way.topology.has_workers() && ![Model::Blocking, Model::PosixAio].contains(&way.model)
    };
    for way in ways::layouts().filter(pooled) {
        let Some(traced) = Traced::start_with(&["-e", inject], way, root.path()) else { return };
        // A listing is a job of another thread, whose end is told by a write.
        let mut clients: Vec<_> = (0..4).map(|_| traced.server.connect()).collect();
        for _ in 0..6 {
            for client in &mut clients {
                assert_eq!(client.get("/").status, 200, "{way}");
            }
        }
        drop(clients);
        let calls = traced.end().1;
        let failed = injected(&calls, "write") + injected(&calls, "writev");
        assert!(failed > 0, "{way}");
    }
}

#[test]
fn one_signal_stops_a_server_whose_calls_for_signals_fail() {
    let root = root();
    for (model, topology) in
        [(Model::EpollEdge, Topology::Single), (Model::Blocking, Topology::Single)]
    {
        let way = Way { model, topology, via: Via::Sendfile };
        for errno in ["EIO", "ENOMEM", "EAGAIN"] {
            let faults = ["recvfrom", "rt_sigtimedwait"]
                .map(|call| format!("inject={call}:error={errno}:when=1..3"));
            let faults: Vec<_> = faults.iter().flat_map(|fault| ["-e", fault]).collect();
            let Some(traced) = Traced::start_with(&faults, way, root.path()) else { return };
            let child = traced.server.children()[0];
            kill_process(child, Signal::TERM).unwrap();
            assert!(traced.server.ends_within(PATIENCE), "{way}, {errno}: it goes on");
            let calls = traced.ended().1;
            let failed = injected(&calls, "rt_sigtimedwait") + injected(&calls, "recvfrom");
            assert!(failed > 0, "{way}, {errno}");
        }
    }
}

#[test]
fn an_error_of_a_wait_that_passes_is_no_end() {
    let root = root();
    for way in ways::layouts() {
        let Some(wait) = wait_of(way) else { continue };
        for errno in ["ENOMEM", "EBUSY", "ETIME"] {
            // The first ones find out whether the kernel has the call.
            let inject = format!("inject={wait}:error={errno}:when=3+2");
            let Some(traced) = Traced::start_with(&["-e", &inject], way, root.path()) else {
                return;
            };
            let mut client = traced.server.connect();
            for _ in 0..5 {
                assert!(client.get("/file").body == pattern(SIZE), "{way}, {errno}");
            }
            drop(client);
            let calls = traced.end().1;
            let failed: usize = wait.split(',').map(|call| injected(&calls, call)).sum();
            assert!(failed > 0, "{way}, {errno}");
        }
    }
}

#[test]
fn a_thread_that_cannot_be_made_is_named_or_done_without() {
    if !strace::may_trace() {
        return;
    }
    let root = root();
    for way in ways::layouts() {
        // Which of the threads that the first thread makes; there are not so many everywhere.
        for which in 1..=6 {
            let trace = root.path().join("trace");
            let mut command = Command::new("strace");
            command.args(["-f", "-qq", "-o"]).arg(&trace);
            command.args(["-e", &format!("inject=clone3:error=EAGAIN:when={which}")]);
            command.args([KAREZ, "serve"]).arg(root.path()).args(way.flags());
            command.args(["--listen", "127.0.0.1:0", "--log", "off"]);
            expect_service_or_error(command, &format!("{way}, thread {which}"));
        }
    }
}

/// The program serves, or ends with 1 and names the call and the thread.
fn expect_service_or_error(mut command: Command, what: &str) {
    println!("{what}");
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    let mut stderr = child.stderr.take().unwrap();
    let mut part = [0; 4096];
    // It may say where it listens before it finds out that it cannot.
    while !said.ends_with('\n') {
        let count = stderr.read(&mut part).unwrap();
        assert!(count > 0, "{what}: {said}");
        said += std::str::from_utf8(&part[..count]).unwrap();
    }
    let address = said.split("http://").nth(1).and_then(|rest| rest.split('/').next());
    if address.is_some_and(serves) {
        let path = format!("/proc/{0}/task/{0}/children", child.id());
        for served in fs::read_to_string(path).unwrap().split_whitespace() {
            let pid = rustix::process::Pid::from_raw(served.parse().unwrap()).unwrap();
            kill_process(pid, Signal::KILL).unwrap();
        }
        child.wait().unwrap();
        return;
    }
    stderr.read_to_string(&mut said).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(1), "{what}: {said}");
    let named = said.contains("clone3, for thread karez-") && said.contains("(os error 11)");
    assert!(named, "{what}: {said}");
}

/// Whether the server that said that it listens there answers; it may have ended.
fn serves(address: &str) -> bool {
    use std::io::{BufRead as _, BufReader, Write as _};
    let Ok(mut stream) = std::net::TcpStream::connect(address) else { return false };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let sent = stream.write_all(b"GET /file HTTP/1.0\r\n\r\n");
    let mut line = String::new();
    sent.is_ok() && BufReader::new(stream).read_line(&mut line).is_ok() && line.contains(" 200 ")
}

/// By a real limit, which holds for ordinary users only.
#[test]
fn where_no_user_may_have_more_threads_that_is_said() {
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
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("clone3, for thread karez-") && said.contains("(os error 11)"), "{said}");
}
