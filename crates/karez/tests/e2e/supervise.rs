//! `--supervise`: a server that a signal ends is replaced, on the same sockets.

use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{BufRead as _, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::https::text;
use crate::layouts;
use crate::reloads::LOADED;
use crate::server::{KAREZ, Server, is_stopped};
use crate::timeouts::TEST_TIMEOUT;
use crate::upgrades::{upgrade, wait_for_end};

const FLAGS: &[&str] = &["--log", "off", "--supervise"];

fn site() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), "file").unwrap();
    root
}

/// Returns the child of a supervisor, which is not the one before.
fn child(supervisor: Pid, before: Option<Pid>) -> Pid {
    let path = format!("/proc/{0}/task/{0}/children", supervisor.as_raw_nonzero());
    let start = Instant::now();
    loop {
        let list = fs::read_to_string(&path).unwrap();
        let children = list.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?));
        if let Some(found) = children.into_iter().find(|child| Some(*child) != before) {
            return found;
        }
        assert!(start.elapsed() < TEST_TIMEOUT, "the supervisor has no other child");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Ends the process that serves, and waits for the next one: until then a connection may reach the one that ends.
fn replace(supervisor: Pid, signal: Signal) {
    let before = child(supervisor, None);
    kill_process(before, signal).unwrap();
    child(supervisor, Some(before));
}

fn command(flags: &[&str]) -> Command {
    let mut command = Command::new(KAREZ);
    command.arg("serve").args(["--listen", "127.0.0.1:0"]).args(FLAGS).args(flags);
    command
}

#[test]
fn a_server_that_a_signal_ends_is_replaced_and_no_connection_is_refused() {
    let root = site();
    for layout in layouts::all() {
        let mut server = Server::start_with(layout, root.path(), FLAGS);
        let mut lost = server.connect();
        assert_eq!(lost.get("/file").body, b"file", "{layout}");
        // Until its listeners are closed, the process that has ended may hold connections in its queues.
        replace(server.process(), Signal::ABORT);
        for _ in 0..20 {
            assert_eq!(server.get("/file").body, b"file", "{layout}");
        }
        assert_eq!(lost.read_to_end(), b"", "{layout}: its connections have ended");
        replace(server.process(), Signal::KILL); // that of the OOM killer
        assert_eq!(server.get("/file").body, b"file", "{layout}");
        for signal in ["SIGABRT (6)", "SIGKILL (9)"] {
            let mut line = String::new();
            while !line.contains(signal) {
                line.clear();
                assert!(server.stderr.read_line(&mut line).unwrap() > 0, "{layout}: {signal}");
            }
        }
        server.signal(Signal::TERM);
        assert!(server.wait().0.success(), "{layout}");
    }
}

#[test]
fn connections_wait_for_a_server_that_is_not_there() {
    let root = site();
    let server = Server::spawn({
        let mut command = command(&[]);
        command.arg(root.path());
        command
    });
    let stopped = child(server.process(), None);
    kill_process(stopped, Signal::STOP).unwrap();
    let number = stopped.as_raw_nonzero().get().try_into().unwrap();
    server.wait_until("every thread is stopped", || is_stopped(number));
    let mut clients: Vec<_> = (0..50).map(|_| server.connect()).collect();
    replace(server.process(), Signal::KILL);
    for client in &mut clients {
        assert_eq!(client.get("/file").body, b"file");
    }
}

#[test]
fn stop_signals_end_both_processes_and_remove_the_socket() {
    let root = site();
    let socket = root.path().join("socket");
    for (signal, ends) in [(Signal::TERM, 0), (Signal::INT, 1)] {
        let server = Server::spawn({
            let mut command = command(&["--listen", &format!("unix:{}", text(&socket))]);
            command.arg(root.path());
            command
        });
        for _ in 0..ends {
            replace(server.process(), Signal::ABORT);
        }
        assert!(ask(&socket).starts_with("HTTP/1.1 200"));
        server.signal(signal);
        assert!(server.wait().0.success());
        assert!(!socket.exists());
    }
}

fn ask(socket: &Path) -> String {
    let mut client = UnixStream::connect(socket).unwrap();
    client.write_all(b"GET /file HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut response = String::new();
    client.read_to_string(&mut response).unwrap();
    response
}

#[test]
fn a_server_that_cannot_start_ends_its_supervisor() {
    for (arguments, status) in [(vec!["/missing"], 1), (vec!["--max-connections", "none"], 2)] {
        let output = command(&arguments).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{printed}");
        assert!(!printed.contains("another one"), "{printed}");
    }
}

#[test]
fn a_reload_reaches_the_server_and_its_replacement() {
    let directory = tempfile::tempdir().unwrap();
    let roots = ["one", "two"].map(|name| directory.path().join(name));
    for root in &roots {
        fs::create_dir(root).unwrap();
        fs::write(root.join("file"), root.file_name().unwrap().as_encoded_bytes()).unwrap();
    }
    let file = directory.path().join("karez.toml");
    let write = |root: &Path| {
        let sandbox = text(directory.path());
        let keys = format!("root = \"{}\"\nsandbox-read = [\"{sandbox}\"]\n", text(root));
        fs::write(&file, keys).unwrap();
    };
    write(&roots[0]);
    let mut server = Server::spawn(command(&["--config", text(&file)]));
    assert_eq!(server.get("/file").body, b"one");
    write(&roots[1]);
    server.signal(Signal::HUP);
    let mut line = String::new();
    while line != LOADED {
        line.clear();
        assert!(server.stderr.read_line(&mut line).unwrap() > 0);
    }
    assert_eq!(server.get("/file").body, b"two");
    replace(server.process(), Signal::ABORT);
    assert_eq!(server.get("/file").body, b"two", "it reads the configuration again");
    fs::write(&file, "rot = 1\n").unwrap();
    replace(server.process(), Signal::ABORT);
    assert_eq!(server.get("/file").body, b"one", "a fault leaves that of the start");
}

#[test]
fn an_upgrade_replaces_the_supervisor_too() {
    let root = site();
    let server = Server::spawn({
        let mut command = command(&["--grace", "1h"]);
        command.arg(root.path());
        command
    });
    let successor = upgrade(child(server.process(), None));
    wait_for_end(server.process());
    replace(successor.pid(), Signal::ABORT);
    assert_eq!(server.get("/file").body, b"file");
    kill_process(successor.pid(), Signal::TERM).unwrap();
    wait_for_end(successor.pid());
}
