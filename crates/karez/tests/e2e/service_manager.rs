//! The protocols of a service manager: sockets that it passes (LISTEN_FDS), and notifications (NOTIFY_SOCKET),
//! with a manager that the test is.

use rustix::process::{Signal, kill_process};
use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::https::{Authority, text};
use crate::layouts;
use crate::programs::has_curl;
use crate::server::{KAREZ, Server};
use crate::timeouts::TEST_TIMEOUT;
use crate::upgrades::{upgrade, wait_for_end};

/// A manager that receives notifications.
struct Manager {
    socket: UnixDatagram,
    directory: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        Self { socket, directory }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(KAREZ);
        command.env("NOTIFY_SOCKET", self.directory.path().join("notify"));
        command
    }

    /// Returns the next notification that is not about the watchdog.
    fn next(&self) -> String {
        loop {
            let notification = self.next_of_any_kind();
            if notification != "WATCHDOG=1" {
                return notification;
            }
        }
    }

    fn next_of_any_kind(&self) -> String {
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }
}

#[test]
fn start_reload_upgrade_and_stop_are_notified() {
    let manager = Manager::new();
    let file = manager.directory.path().join("karez.toml");
    let write = |keys: &str| {
        let keys = format!("root = \".\"\nlisten = \"127.0.0.1:0\"\nlog = \"off\"\n{keys}");
        fs::write(&file, keys).unwrap();
    };
    for layout in layouts::sample() {
        write("");
        let mut command = manager.command();
        command.args(["serve", "--config", text(&file)]).args(layout.flags());
        let server = Server::spawn(command);
        let ready = manager.next();
        let url = format!("READY=1\nSTATUS=serves at http://{}/", server.address);
        assert_eq!(ready, url, "{layout}");
        let reload = |pid, status: &str| {
            kill_process(pid, Signal::HUP).unwrap();
            let reloading = manager.next();
            let since = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
            let since = since.and_then(|micros| micros.parse::<u64>().ok());
            assert!(since.is_some(), "{layout}: {reloading}");
            assert_eq!(manager.next(), format!("READY=1\nSTATUS={status}"), "{layout}");
        };
        reload(server.process(), "configuration loaded");
        write("rot = 1\n");
        reload(server.process(), "the configuration stays as it was");
        write("");
        let successor = upgrade(server.process());
        let number = successor.pid().as_raw_nonzero();
        assert_eq!(manager.next(), format!("MAINPID={number}\nREADY=1"), "{layout}");
        wait_for_end(server.process());
        reload(successor.pid(), "configuration loaded");
        kill_process(successor.pid(), Signal::TERM).unwrap();
        assert_eq!(
            manager.next(),
            "STOPPING=1",
            "{layout}: once, by the process that is the service"
        );
        wait_for_end(successor.pid());
    }
}

#[test]
fn the_watchdog_is_fed_while_the_event_loops_run() {
    let manager = Manager::new();
    for layout in layouts::sample() {
        let mut command = manager.command();
        command.arg("serve").arg(manager.directory.path()).args(layout.flags());
        command.args(["--listen", "127.0.0.1:0", "--log", "off"]).env("WATCHDOG_USEC", "200000");
        let server = Server::spawn(command);
        assert!(manager.next().starts_with("READY=1\n"), "{layout}");
        for _ in 0..3 {
            assert_eq!(manager.next_of_any_kind(), "WATCHDOG=1", "{layout}");
        }
        server.signal(Signal::TERM);
        assert_eq!(manager.next(), "STOPPING=1", "{layout}");
        wait_for_end(server.process());
    }
}

#[test]
fn the_watchdog_of_another_process_is_not_fed() {
    let manager = Manager::new();
    let mut command = manager.command();
    command.arg("serve").arg(manager.directory.path()).args(["--listen", "127.0.0.1:0"]);
    command.args(["--log", "off"]).env("WATCHDOG_USEC", "1000").env("WATCHDOG_PID", "1");
    let server = Server::spawn(command);
    assert!(manager.next().starts_with("READY=1\n"));
    server.signal(Signal::TERM);
    assert_eq!(manager.next_of_any_kind(), "STOPPING=1");
}

/// Returns a command that runs karez with this socket as the descriptor 3.
fn activated(socket: OwnedFd, names: &str) -> Command {
    let mut command = Command::new("sh");
    let script = "exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\"";
    command.args(["-c", script, "sh", KAREZ, "serve"]).stdin(Stdio::from(socket));
    command.env("LISTEN_FDNAMES", names);
    command
}

fn site() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), "file").unwrap();
    root
}

#[test]
fn sockets_of_the_service_manager_are_served() {
    let root = site();
    for layout in layouts::sample() {
        for named in [false, true] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            // In the queue before the server starts.
            let mut early = crate::client::Client::connect(address);
            let mut command = activated(listener.into(), "karez.socket");
            command.arg(root.path()).args(layout.flags()).args(["--log", "off"]);
            if named {
                command.args(["--listen", &address.to_string()]);
            }
            let server = Server::spawn_with_input(command);
            assert_eq!(server.address, address, "{layout}");
            assert_eq!(early.get("/file").body, b"file", "{layout}");
            let successor = upgrade(server.process());
            assert_eq!(early.get("/file").field("connection"), Some("close"), "{layout}");
            assert_eq!(server.get("/file").body, b"file", "{layout}: by the successor");
            drop((early, successor));
            wait_for_end(server.process());
        }
    }
}

#[test]
fn the_name_of_a_passed_socket_selects_the_protocol() {
    if !has_curl() {
        return;
    }
    let (root, authority) = (site(), Authority::new());
    for (name, scheme) in [("https", "https"), ("http", "http"), ("other", "https")] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut command = activated(listener.into(), name);
        command.arg(root.path()).args(authority.flags());
        let server = Server::spawn_with_input(command);
        assert_eq!(server.address, address);
        let output = authority.curl().arg(format!("{scheme}://{address}/file")).output().unwrap();
        assert_eq!(output.stdout, b"file", "{name}: {output:?}");
    }
}

#[test]
fn a_socket_without_a_listener_for_it_is_reported() {
    let root = site();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut command = activated(listener.into(), "");
    command.arg(root.path()).args(["--listen", "127.0.0.1:0", "--log", "off"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stderr =
        std::io::BufReader::new(crate::timeouts::TimedReader(child.stderr.take().unwrap()));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut stderr, &mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.contains(&format!("passed a socket for {address}, but no --listen")), "{line}");
}

#[test]
fn sockets_that_cannot_be_served_are_errors() {
    let root = site();
    let (connected, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
    for (socket, reason) in [
        (OwnedFd::from(fs::File::open(root.path().join("file")).unwrap()), "not a socket"),
        (connected.into(), "not a listening stream socket"),
    ] {
        let output = activated(socket, "").arg(root.path()).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{printed}");
        assert!(
            printed.contains("inherited descriptor 3: ") && printed.contains(reason),
            "{printed}"
        );
    }
}

/// The name belongs to the service manager.
#[test]
fn the_name_of_a_passed_unix_socket_stays() {
    let root = site();
    let path = root.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let mut command = activated(listener.into(), "");
    command.arg(root.path()).args(["--log", "off"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr =
        std::io::BufReader::new(crate::timeouts::TimedReader(child.stderr.take().unwrap()));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut stderr, &mut line).unwrap();
    assert!(line.contains(&format!("unix:{}", path.display())), "{line}");
    let pid = rustix::process::Pid::from_child(&child);
    kill_process(pid, Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(Path::new(&path).exists());
}
