//! Upgrade by SIGUSR2 and `karez upgrade`: another process serves on the same sockets, the old one drains, and a
//! program or a configuration that fails changes nothing.

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use std::fs;
use std::io::{BufRead as _, Read as _, Write as _};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use crate::http2_client::Http2Client;
use crate::https::text;
use crate::layouts::{self, Layout};
use crate::reloads::LOADED;
use crate::server::{KAREZ, Server};
use crate::timeouts::{TEST_TIMEOUT, is_readable};

/// A process that serves in place of another, killed when dropped.
pub struct Successor(Pid);

impl Successor {
    pub fn pid(&self) -> Pid {
        self.0
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        let _gone = kill_process(self.0, Signal::KILL);
    }
}

/// Runs `karez upgrade` for a process.
pub fn run_upgrade(pid: Pid) -> Output {
    let number = pid.as_raw_nonzero().to_string();
    Command::new(KAREZ).args(["upgrade", &number]).output().unwrap()
}

/// Replaces a process, and returns the one that serves then.
pub fn upgrade(pid: Pid) -> Successor {
    let output = run_upgrade(pid);
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}");
    let number = printed.split("process ").nth(1).and_then(|rest| rest.split(' ').next());
    let number = number.and_then(|number| number.parse().ok());
    Successor(number.and_then(Pid::from_raw).unwrap_or_else(|| panic!("{printed}")))
}

/// Expects an upgrade to fail for this reason.
fn expect_failure(server: &Server, reason: &str) {
    let output = run_upgrade(server.process());
    let printed = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(printed.contains(" goes on: ") && printed.contains(reason), "{reason}: {printed}");
}

/// Waits for the end of a process, which need not be a child.
pub fn wait_for_end(pid: Pid) {
    if let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) {
        assert!(is_readable(&process, TEST_TIMEOUT), "the old process does not end");
    }
}

fn site() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), "file").unwrap();
    fs::write(root.path().join("large"), vec![b'x'; 8 << 20]).unwrap();
    root
}

const FLAGS: &[&str] = &["--log", "off", "--grace", "1h"];

#[test]
fn idle_connections_are_told_the_end_by_their_next_response() {
    let root = site();
    for layout in layouts::all() {
        let server = Server::start_with(layout, root.path(), FLAGS);
        let mut idle = server.connect();
        assert_eq!(idle.get("/file").field("connection"), None, "{layout}");
        let mut silent = server.connect();
        let mut multiplexed = Http2Client::connect(&server, &[]);
        assert_eq!(multiplexed.request(1, "GET", "/file", &[]).status, 200, "{layout}");
        let mut slow = server.connect();
        slow.limit_receive_buffer();
        slow.start_get("/large");
        let successor = upgrade(server.process());
        for client in [&mut idle, &mut silent] {
            assert!(client.receives_nothing(Duration::ZERO), "{layout}: it stays open");
            let response = client.get("/file");
            assert_eq!(response.body, b"file", "{layout}");
            // The silent one may have been in the queue, and be served by the new process.
            let announced = response.field("connection") == Some("close");
            if announced {
                assert_eq!(client.read_to_end(), b"", "{layout}");
            }
        }
        end_http2(&mut multiplexed, layout);
        assert_eq!(slow.read_body(8 << 20).len(), 8 << 20, "{layout}");
        let response = slow.get("/file");
        assert_eq!(response.field("connection"), Some("close"), "{layout}");
        // The server waits a moment for clients that do not close.
        drop((idle, silent, slow, multiplexed));
        wait_for_end(server.process());
        assert_eq!(server.get("/file").body, b"file", "{layout}: the new process");
        drop(successor);
    }
}

/// A request that meets GOAWAY is served, and the end follows it.
fn end_http2(client: &mut Http2Client, layout: Layout) {
    assert_eq!(client.request(3, "GET", "/file", &[]).body, b"file", "{layout}");
    client.read_to_end();
    assert!(client.goaway.is_some(), "{layout}: the end is announced");
}

#[test]
fn the_successor_has_another_program_and_configuration() {
    let root = site();
    let directory = tempfile::tempdir().unwrap();
    let (program, file) = (directory.path().join("karez"), directory.path().join("karez.toml"));
    symlink(KAREZ, &program).unwrap();
    let write = |keys: &str| fs::write(&file, format!("listen = \"127.0.0.1:0\"\n{keys}")).unwrap();
    write(&format!("root = \"{}\"\nlog = \"off\"\n", text(root.path())));
    let mut command = Command::new(&program);
    command.args(["serve", "--config", text(&file)]);
    let server = Server::spawn(command);
    let mut client = server.connect();
    assert_eq!(client.get("/file").body, b"file");

    write("root = \"none\"\n");
    expect_failure(&server, "none");
    write("rot = \"none\"\n");
    expect_failure(&server, ":2: unknown key \"rot\"");
    let replace = |target: &Path| {
        fs::remove_file(&program).unwrap();
        symlink(target, &program).unwrap();
    };
    replace(&directory.path().join("missing"));
    expect_failure(&server, "No such file");
    let script = directory.path().join("script");
    fs::write(&script, "#!/bin/sh\nexit 3\n").unwrap();
    replace(&script);
    expect_failure(&server, "Permission denied");
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    expect_failure(&server, "exit status: 3");
    assert_eq!(client.get("/file").body, b"file", "the old process serves on");

    // Another number of sockets and of event loops.
    replace(Path::new(KAREZ));
    let other = root.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("file"), "other").unwrap();
    write(&format!("root = \"{}\"\nlog = \"off\"\ntopology = \"multi\"\n", text(&other)));
    let successor = upgrade(server.process());
    assert_eq!(client.get("/file").field("connection"), Some("close"));
    assert_eq!(server.get("/file").body, b"other");
    drop(client);
    wait_for_end(server.process());
    let last = upgrade(successor.pid());
    assert_eq!(server.get("/file").body, b"other", "a successor can be replaced, too");
    drop(last);
}

#[test]
fn sigusr2_and_sigterm_are_handled_by_each_process() {
    let root = site();
    for layout in layouts::sample() {
        let mut server = Server::start_with(layout, root.path(), FLAGS);
        let mut idle = server.connect();
        assert_eq!(idle.get("/file").status, 200, "{layout}");
        server.signal(Signal::USR2);
        let successor = loop {
            let mut line = String::new();
            server.stderr.read_line(&mut line).unwrap();
            let number = line.strip_prefix("karez: process ").and_then(|rest| {
                rest.strip_suffix(" serves, this one ends its connections within 3600s\n")
            });
            if let Some(number) = number {
                break Successor(Pid::from_raw(number.parse().unwrap()).unwrap());
            }
        };
        // A stop during the drain closes idle connections.
        server.signal(Signal::TERM);
        assert_eq!(idle.read_to_end(), b"", "{layout}");
        wait_for_end(server.process());
        let mut client = server.connect();
        assert_eq!(client.get("/file").body, b"file", "{layout}");
        kill_process(successor.pid(), Signal::TERM).unwrap();
        assert_eq!(client.read_to_end(), b"", "{layout}");
        wait_for_end(successor.pid());
    }
}

#[test]
fn a_process_without_a_server_is_named() {
    let output = run_upgrade(rustix::process::getpid());
    let printed = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(printed.contains("is no karez serve that can be upgraded"), "{printed}");
}

#[test]
fn a_reload_adds_and_removes_listeners() {
    let root = site();
    let directory = tempfile::tempdir().unwrap();
    let (file, socket) = (directory.path().join("karez.toml"), directory.path().join("socket"));
    let write = |listen: &str| {
        let root = text(root.path());
        let keys = format!("listen = {listen}\nroot = \"{root}\"\nlog = \"off\"\nquiet = true\n");
        fs::write(&file, keys).unwrap();
    };
    let any = "\"127.0.0.1:0\"";
    write(any);
    let mut command = Command::new(KAREZ);
    command.args(["serve", "--config", text(&file)]);
    // The first line has the address.
    let mut server = {
        let keys = fs::read_to_string(&file).unwrap().replace("quiet = true\n", "");
        fs::write(&file, keys).unwrap();
        Server::spawn(command)
    };
    let get = |path: &Path| {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.write_all(b"GET /file HTTP/1.0\r\n\r\n").unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert!(response.ends_with("\r\n\r\nfile"), "{response}");
    };
    let mut client = server.connect();
    assert_eq!(client.get("/file").body, b"file");
    write(&format!("[{any}, \"unix:{}\"]", text(&socket)));
    let successor = reload_by_process(&mut server, "listen, quiet");
    assert_eq!(client.get("/file").field("connection"), Some("close"));
    assert_eq!(server.get("/file").body, b"file", "the same port");
    get(&socket);
    drop(client);
    wait_for_end(server.process());
    get(&socket);
    write(any);
    kill_process(successor.pid(), Signal::HUP).unwrap();
    let last = next_process(&mut server, "listen");
    wait_for_end(successor.pid());
    server_is_without(&socket);
    assert_eq!(server.get("/file").body, b"file");
    // No key that needs a process has changed.
    kill_process(last.pid(), Signal::HUP).unwrap();
    let mut line = String::new();
    server.stderr.read_line(&mut line).unwrap();
    assert_eq!(line, LOADED);
}

fn server_is_without(socket: &Path) {
    let start = std::time::Instant::now();
    while socket.exists() {
        assert!(start.elapsed() < TEST_TIMEOUT, "the name of the socket stays");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Reloads a change of these keys, and returns the process that serves then.
pub fn reload_by_process(server: &mut Server, keys: &str) -> Successor {
    server.signal(Signal::HUP);
    next_process(server, keys)
}

fn next_process(server: &mut Server, keys: &str) -> Successor {
    let (mut line, mut announced) = (String::new(), false);
    let announcement = format!("karez: a change of {keys} needs another process\n");
    loop {
        line.clear();
        server.stderr.read_line(&mut line).unwrap();
        let number = line.strip_prefix("karez: process ").and_then(|rest| rest.split(' ').next());
        if let Some(number) = number {
            assert!(announced, "{line}");
            return Successor(Pid::from_raw(number.parse().unwrap()).unwrap());
        }
        // The new process names its addresses, perhaps before the thread of the log has written.
        announced |= line == announcement;
        assert!(line == announcement || line.starts_with("karez serves "), "{line}");
    }
}
