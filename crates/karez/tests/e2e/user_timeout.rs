//! `TCP_USER_TIMEOUT`: bytes that the kernel holds for a client are given up after `--send-timeout`, where no timeout of
//! the server is due.

use karez_reactor::{Model, Topology};
use karez_transfer::Via;
use rustix::process::Signal;
use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::client::Client;
use crate::files::pattern;
use crate::layouts::{self, Layout};
use crate::server::Server;

/// More than the receive buffer of a client holds, and less than the send buffer of the server.
const SIZE: usize = 1 << 20;

/// Less than the first send buffer of a connection with packets of 1,500 bytes.
const SMALL: usize = 16 << 10;

const FLAGS: &[&str] =
    &["--log", "off", "--send-timeout", "3s", "--idle-timeout", "1h", "--header-timeout", "1h"];

fn site() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), pattern(SIZE)).unwrap();
    fs::write(root.path().join("small"), pattern(SMALL)).unwrap();
    root
}

/// Asks for the file, and waits until all of the response is in the kernel, whose peer has no room for it.
fn stall(server: &Server, fields: &str) -> Client {
    let mut client = server.connect();
    client.send(format!("GET /file HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
    server.wait_until("the response is with the kernel", || {
        let there = server.unacknowledged(&client);
        there > 0 && client.unread() + there >= SIZE
    });
    client
}

#[test]
fn a_client_that_takes_nothing_of_a_sent_response_is_given_up() {
    let root = site();
    layouts::concurrently(layouts::each_model(), |layout| {
        let server = Server::start_with(layout, root.path(), FLAGS);
        let mut client = stall(&server, "");
        let open = server.sockets();
        server.wait_until("the kernel has given it up", || server.unacknowledged(&client) == 0);
        server.wait_until("the connection is closed", || server.sockets() < open);
        // The kernel has dropped what the client did not take.
        assert_eq!(client.read_all(), Err(ErrorKind::ConnectionReset), "{layout}");
    });
}

#[test]
fn the_kernel_gives_up_a_connection_that_the_server_has_closed() {
    let root = site();
    layouts::concurrently(layouts::each_model(), |layout| {
        let server = Server::start_with(layout, root.path(), FLAGS);
        let mut client = stall(&server, "Connection: close\r\n");
        let open = server.sockets();
        client.half_close();
        server.wait_until("the server has closed it", || server.sockets() < open);
        assert!(server.unacknowledged(&client) > 0, "{layout}: the kernel has given it up before");
        server.wait_until("the kernel has given it up", || server.unacknowledged(&client) == 0);
        assert_eq!(client.read_all(), Err(ErrorKind::ConnectionReset), "{layout}");
    });
}

/// A process in a network namespace of its own, with the end of a cable.
struct Remote(Child);

impl Remote {
    /// Starts a client at the other end of a cable to the server.
    fn connect(server: &Server, script: &str) -> Option<Self> {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "echo; read -r line; eval \"$line\""]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut remote = Self(command.spawn().ok()?);
        let mut byte = [0];
        // It is in its namespace.
        remote.0.stdout.as_mut()?.read_exact(&mut byte).ok()?;
        let pid = remote.0.id();
        let cable = format!(
            "ip link add karez0 type veth peer name karez0 netns {pid} &&
             ip addr add 10.9.0.1/24 dev karez0 && ip link set karez0 up"
        );
        let made = in_namespace(server.pid(), &cable)
            && in_namespace(pid, "ip addr add 10.9.0.2/24 dev karez0 && ip link set karez0 up");
        writeln!(remote.0.stdin.as_mut()?, "{script}").ok()?;
        made.then_some(remote)
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

fn in_namespace(pid: u32, script: &str) -> bool {
    let net = format!("--net=/proc/{pid}/ns/net");
    Command::new("nsenter").args([&net, "sh", "-c", script]).status().is_ok_and(|it| it.success())
}

/// Returns the queues of the connection at port 8080 in the namespace of a process, to send and to receive.
fn queues(pid: u32) -> Option<[usize; 2]> {
    let table =
        fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("net/tcp")).ok()?;
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (sent, received) = fields[4].split_once(':')?;
        let connected = fields[1].ends_with(":1F90") && fields[3] != "0A";
        connected.then(|| [sent, received].map(|it| usize::from_str_radix(it, 16).unwrap()))
    })
}

/// Sends a request, and waits for the response: as one process, so that none is left when it is killed.
const CLIENT: &str = r#"exec bash -c 'exec 3<>/dev/tcp/10.9.0.1/8080; printf "GET /small HTTP/1.1\r\nHost: test\r\n\r\n" >&3; exec cat <&3'"#;

/// The response is sent when the cable has been pulled, so no byte of it is acknowledged.
#[test]
fn a_peer_whose_cable_is_pulled_is_given_up() {
    let mut probe = Command::new("unshare");
    probe.args(["--net", "ip", "link", "add", "name", "karez0", "type", "veth"]);
    if !probe.output().is_ok_and(|output| output.status.success()) {
        return println!("skipped: no network namespace with a veth device");
    }
    let root = site();
    let layout = Layout { model: Model::EpollEdge, topology: Topology::Single, via: Via::Sendfile };
    let flags = [FLAGS, &["--listen", "0.0.0.0:8080"]].concat();
    let server = Server::start_under(&["unshare", "--net"], layout, root.path(), &flags);
    server.suspend();
    let client = Remote::connect(&server, CLIENT).expect("a client");
    server
        .wait_until("the request has arrived", || queues(server.pid()).is_some_and(|it| it[1] > 0));
    assert!(in_namespace(client.0.id(), "ip link set karez0 down"));
    server.signal(Signal::CONT);
    server.wait_until("the response is with the kernel", || {
        queues(server.pid()).is_some_and(|it| it[0] > SMALL)
    });
    let open = server.sockets();
    server.wait_until("the kernel has given it up", || queues(server.pid()).is_none());
    server.wait_until("the connection is closed", || server.sockets() < open);
}
