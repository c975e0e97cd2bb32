//! Load: many connections at once, short-lived connections, full listen queues, and one slow client
//! among many fast ones.

use karez_reactor::{Model, Topology};
use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::client::Client;
use crate::files::pattern;
use crate::layouts::{self, Layout};
use crate::server::{KAREZ, Server};
use crate::timeouts::TEST_TIMEOUT;

/// Files of different lengths, so that a response for another connection is detected.
const FILES: usize = 16;

const REQUEST: &str = "GET /0 HTTP/1.1\r\nHost: test\r\n\r\n";

/// Returns the content of the file with this number.
fn content(number: usize) -> Vec<u8> {
    pattern(number * 613 + 1)
}

fn site() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for number in 0..FILES {
        fs::write(root.path().join(number.to_string()), content(number)).unwrap();
    }
    root
}

fn ask(client: &mut Client, file: usize) {
    client.send(format!("GET /{file} HTTP/1.1\r\nHost: test\r\n\r\n"));
}

fn expect(client: &mut Client, file: usize, what: &str) {
    let response = client.response(false);
    assert_eq!(response.status, 200, "{what}");
    assert!(response.body == content(file), "{what}: not file {file}");
}

/// Raises the limit on open files and returns whether it is high enough.
fn has_descriptors(wanted: u64) -> bool {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let _may = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let has = getrlimit(Resource::Nofile).current.is_none_or(|limit| limit >= wanted);
    if !has {
        println!("skipped: fewer than {wanted} open files are allowed");
    }
    has
}

#[test]
fn two_thousand_connections_with_five_hundred_busy() {
    const IDLE: usize = 1500;
    const BUSY: usize = 500;
    // With posix-aio the server has two descriptors per connection, and other tests run at the same
    // time.
    if !has_descriptors(8000) {
        return;
    }
    let root = site();
    for layout in layouts::each_model() {
        let mut flags = vec!["--log", "off", "--max-connections", "2500", "--idle-timeout", "1h"];
        if layout.model == Model::Blocking && layout.topology == Topology::Workers {
            flags.extend(["--workers", "2500"]); // each holds one
        }
        let server = Server::start_with(layout, root.path(), &flags);
        let mut idle: Vec<_> = (0..IDLE).map(|_| server.connect()).collect();
        // Some are idle after a response, some have never sent anything.
        for (number, client) in idle.iter_mut().enumerate().filter(|(number, _)| number % 3 == 0) {
            ask(client, number % FILES);
            expect(client, number % FILES, &format!("{layout}, idle"));
        }
        let mut busy: Vec<_> = (0..BUSY).map(|_| server.connect()).collect();
        for round in 0..4 {
            for (number, client) in busy.iter_mut().enumerate() {
                ask(client, (number + round) % FILES);
            }
            for (number, client) in busy.iter_mut().enumerate() {
                expect(client, (number + round) % FILES, &format!("{layout}, busy"));
            }
        }
        server.wait_until(&format!("{layout}: all connections are open"), || {
            server.descriptors().len() >= IDLE + BUSY
        });
        // No idle connection was evicted or lost.
        for (number, client) in idle.iter_mut().enumerate() {
            ask(client, number % FILES);
        }
        for (number, client) in idle.iter_mut().enumerate() {
            expect(client, number % FILES, &format!("{layout}, woken"));
        }
    }
}

/// A pseudo-random sequence, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

#[test]
fn reused_slots_receive_no_stale_responses() {
    const CLIENTS: usize = 24;
    let steps = if layouts::requested().is_some() { 2500 } else { 1000 };
    let root = site();
    fs::write(root.path().join("large"), pattern(8 << 20)).unwrap();
    for (layout, seed) in layouts::all().zip(1..) {
        let what = format!("{layout}, seed {seed}");
        let flags = ["--log", "off", "--max-connections", "1000"];
        let server = Server::start_with(layout, root.path(), &flags);
        server.get("/0");
        // Only sockets and files of the site: event loops that start later open others.
        let open = || server.open_for_clients(root.path());
        let before = open();
        let mut random = Random(seed);
        let mut opened = CLIENTS;
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
        for _ in 0..steps {
            let (index, file) = (random.below(CLIENTS), random.below(FILES));
            let client = &mut clients[index];
            match random.below(8) {
                // Closes with a response in flight; the next connection reuses its slot and
                // descriptor.
                0 => ask(client, file),
                1 => client.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n"),
                2 => {
                    ask(client, file);
                    let linger = Some(Duration::ZERO);
                    sockopt::set_socket_linger(client.stream.get_ref(), linger).unwrap();
                }
                3 => client.send("GET /0 HTTP/1.1\r\nHo"),
                4 => {}
                _ => {
                    ask(client, file);
                    expect(client, file, &what);
                    continue;
                }
            }
            // Closes the old connection before the new one, so that its descriptor is free.
            drop(clients.swap_remove(index));
            clients.push(server.connect());
            opened += 1;
        }
        for (number, client) in clients.iter_mut().enumerate() {
            ask(client, number % FILES);
            expect(client, number % FILES, &what);
        }
        let highest = *server.descriptors().keys().next_back().unwrap();
        // Linux AIO releases a closed descriptor only after a delay.
        let fresh = if layout.model == Model::LinuxAio { opened * 3 / 4 } else { opened / 2 };
        assert!(
            highest < fresh as u64,
            "{what}: descriptors up to {highest} for {opened} connections"
        );
        drop(clients);
        // Files may stay open for a while after the response.
        server.wait_until(&format!("{what}: all closed connections are released"), || {
            open() <= before + FILES + 1
        });
    }
}

/// The connections wait in the kernel's queue, since the server is stopped.
#[test]
fn connections_over_the_limit_queue_and_are_served() {
    const ALLOWED: &str = "16";
    const MANY: usize = 100;
    let root = site();
    for layout in layouts::all() {
        let flags = ["--log", "off", "--max-connections", ALLOWED];
        let server = Server::start_with(layout, root.path(), &flags);
        let mut first = server.connect();
        expect_first(&mut first, layout);
        server.suspend();
        let mut clients: Vec<_> = (0..MANY).map(|_| server.connect()).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            ask(client, number % FILES);
        }
        server.signal(Signal::CONT);
        for (number, client) in clients.iter_mut().enumerate() {
            let what = format!("{layout}, number {number} of {MANY}");
            assert!(!client.is_closed(), "{what}: closed before it was answered");
            expect(client, number % FILES, &what);
        }
        assert_eq!(server.get("/0").body, content(0), "{layout}");
    }
}

fn expect_first(client: &mut Client, layout: Layout) {
    ask(client, 1);
    expect(client, 1, &format!("{layout}, before"));
}

/// Starts the server in a network namespace with a low limit for listen(2) backlogs. The listener
/// is a UNIX socket in the file system, which is visible in all network namespaces; a client that
/// finds its backlog full blocks in connect(2).
fn serve_with_low_backlog_limit(layout: Layout, root: &Path, socket: &Path) -> Command {
    let mut command = Command::new("unshare");
    let script = "echo 8 >/proc/sys/net/core/somaxconn && exec \"$@\"";
    command
        .args(["--net", "sh", "-c", script, "sh", KAREZ, "serve"])
        .arg(root)
        .args(layout.flags());
    // The first line names the other address.
    command.args(["--log", "off", "--listen", "0.0.0.0:0", "--listen"]);
    command.arg(format!("unix:{}", socket.display()));
    command
}

fn can_lower_backlog_limit() -> bool {
    let mut probe = Command::new("unshare");
    probe.args(["--net", "sh", "-c", "echo 8 >/proc/sys/net/core/somaxconn"]);
    let may = probe.output().is_ok_and(|output| output.status.success());
    if !may {
        println!("skipped: no network namespace with a lower net.core.somaxconn");
    }
    may
}

#[test]
fn full_backlog_is_drained_and_waiting_clients_are_served() {
    const WAITING: usize = 40;
    if !can_lower_backlog_limit() {
        return;
    }
    let root = site();
    for layout in layouts::all() {
        println!("serving with {layout}");
        let path = root.path().join(format!("socket-{}-{}", layout.model, layout.topology));
        let server = Server::spawn(serve_with_low_backlog_limit(layout, root.path(), &path));
        // The first client is answered, so the listener exists and accepts.
        assert_eq!(ask_at(UnixStream::connect(&path).unwrap(), layout), content(0), "{layout}");
        server.suspend();
        let queued = fill(&path);
        println!("{} in the backlog", queued.len());
        thread::scope(|scope| {
            let path = &path;
            let waiting: Vec<_> = (0..WAITING)
                .map(|_| scope.spawn(move || ask_at(UnixStream::connect(path).unwrap(), layout)))
                .collect();
            server.signal(Signal::CONT);
            for one in waiting {
                assert!(one.join().unwrap() == content(0), "{layout}: the queued connection");
            }
        });
        for one in queued {
            assert!(ask_at(one, layout) == content(0), "{layout}: the waiting connection");
        }
    }
}

/// Connects until the backlog is full.
fn fill(path: &Path) -> Vec<UnixStream> {
    let address = SocketAddrUnix::new(path).unwrap();
    let mut queued = Vec::new();
    loop {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        match connect(&socket, &address) {
            Ok(()) => queued.push(UnixStream::from(socket)),
            Err(Errno::AGAIN) => return queued,
            Err(errno) => panic!("connect: {errno}"),
        }
        assert!(queued.len() < 1000, "the backlog is unlimited");
    }
}

/// Sends one request and returns the body; the connection then ends.
fn ask_at(mut stream: UnixStream, layout: Layout) -> Vec<u8> {
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    stream
        .write_all(REQUEST.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").as_bytes())
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{layout}");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    answer.split_off(end)
}

#[test]
fn slow_reader_and_two_hundred_fast_readers_are_served() {
    const FAST: usize = 200;
    const PART: usize = 1 << 20;
    const PARTS: usize = 16;
    /// The number of responses to fast readers between two parts for the slow one.
    const BETWEEN: usize = 50;
    let root = site();
    let slow_content = pattern(PART * PARTS);
    fs::write(root.path().join("large"), &slow_content).unwrap();
    for layout in layouts::each_model() {
        let server = Server::start(layout, root.path());
        let mut slow = server.connect();
        slow.limit_receive_buffer();
        assert_eq!(slow.start_get("/large").status, 200, "{layout}");
        let mut fast: Vec<_> = (0..FAST).map(|_| server.connect()).collect();
        let mut parts = slow_content.chunks(PART);
        for round in 0..PARTS * BETWEEN / FAST {
            for (number, client) in fast.iter_mut().enumerate() {
                ask(client, (number + round) % FILES);
            }
            for (number, client) in fast.iter_mut().enumerate() {
                expect(client, (number + round) % FILES, &format!("{layout}, round {round}"));
                if number % BETWEEN == 0 {
                    let part = parts.next().unwrap();
                    assert!(slow.read_body(PART) == part, "{layout}, round {round}: other bytes");
                }
            }
        }
        assert!(parts.next().is_none());
        ask(&mut slow, 3);
        expect(&mut slow, 3, &format!("{layout}, the slow one"));
    }
}
