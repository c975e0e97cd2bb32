//! Crowds: many at once, many that come and go, many at the door, and one that is slow among many
//! that are fast.

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
use crate::patience::PATIENCE;
use crate::server::{KAREZ, Server};
use crate::ways::{self, Way};

/// Files of different lengths, so that nobody takes another's answer for its own.
const FILES: usize = 16;

const REQUEST: &str = "GET /0 HTTP/1.1\r\nHost: test\r\n\r\n";

/// What the file of this number holds.
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

/// Raises the limit on open files; whether there are so many.
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
fn two_thousand_are_there_and_five_hundred_of_them_busy() {
    const IDLE: usize = 1500;
    const BUSY: usize = 500;
    // With posix-aio the server has two for each, and other tests run beside this one.
    if !has_descriptors(8000) {
        return;
    }
    let root = site();
    for way in ways::layouts() {
        let mut flags = vec!["--log", "off", "--max-connections", "2500", "--idle-timeout", "1h"];
        if way.model == Model::Blocking && way.topology == Topology::Workers {
            flags.extend(["--workers", "2500"]); // each holds one
        }
        let server = Server::start_with(way, root.path(), &flags);
        let mut idle: Vec<_> = (0..IDLE).map(|_| server.connect()).collect();
        // Some rest after an answer, some have never said anything.
        for (number, client) in idle.iter_mut().enumerate().filter(|(number, _)| number % 3 == 0) {
            ask(client, number % FILES);
            expect(client, number % FILES, &format!("{way}, idle"));
        }
        let mut busy: Vec<_> = (0..BUSY).map(|_| server.connect()).collect();
        for round in 0..4 {
            for (number, client) in busy.iter_mut().enumerate() {
                ask(client, (number + round) % FILES);
            }
            for (number, client) in busy.iter_mut().enumerate() {
                expect(client, (number + round) % FILES, &format!("{way}, busy"));
            }
        }
        server
            .until(&format!("{way}: all are there"), || server.descriptors().len() >= IDLE + BUSY);
        // None of those that rested had to go, and none was forgotten.
        for (number, client) in idle.iter_mut().enumerate() {
            ask(client, number % FILES);
        }
        for (number, client) in idle.iter_mut().enumerate() {
            expect(client, number % FILES, &format!("{way}, woken"));
        }
    }
}

/// Numbers that look like chance and are the same every time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

#[test]
fn who_comes_gets_nothing_that_was_meant_for_who_went() {
    const SEATS: usize = 24;
    const STEPS: usize = 2500;
    let root = site();
    fs::write(root.path().join("large"), pattern(8 << 20)).unwrap();
    for (way, seed) in ways::layouts().zip(1..) {
        let what = format!("{way}, seed {seed}");
        let flags = ["--log", "off", "--max-connections", "1000"];
        let server = Server::start_with(way, root.path(), &flags);
        server.get("/0");
        let before = server.descriptors().len();
        let mut chance = Chance(seed);
        let mut came = SEATS;
        let mut seats: Vec<_> = (0..SEATS).map(|_| server.connect()).collect();
        for _ in 0..STEPS {
            let (seat, file) = (chance.below(SEATS), chance.below(FILES));
            let client = &mut seats[seat];
            match chance.below(8) {
                // Goes with an answer under way to it; the next takes its place and its number.
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
            // First the one goes and then the other comes, so that its number is free.
            drop(seats.swap_remove(seat));
            seats.push(server.connect());
            came += 1;
        }
        for (number, client) in seats.iter_mut().enumerate() {
            ask(client, number % FILES);
            expect(client, number % FILES, &what);
        }
        let highest = *server.descriptors().keys().next_back().unwrap();
        // Linux AIO lets go of a closed descriptor only after a while.
        let fresh = if way.model == Model::LinuxAio { came * 3 / 4 } else { came / 2 };
        assert!(highest < fresh as u64, "{what}: numbers up to {highest} for {came}");
        drop(seats);
        // Files may stay open for a while.
        server.until(&format!("{what}: all that went is forgotten"), || {
            server.descriptors().len() <= before + FILES + 1
        });
    }
}

/// What each connection waits in is the kernel's: the server is stopped.
#[test]
fn more_than_are_allowed_queue_at_the_door_and_all_are_answered() {
    const ALLOWED: &str = "16";
    const MANY: usize = 200;
    let root = site();
    for way in ways::layouts() {
        let flags = ["--log", "off", "--max-connections", ALLOWED];
        let server = Server::start_with(way, root.path(), &flags);
        let mut first = server.connect();
        expect_first(&mut first, way);
        stop(&server);
        let mut clients: Vec<_> = (0..MANY).map(|_| server.connect()).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            ask(client, number % FILES);
        }
        server.signal(Signal::CONT);
        for (number, client) in clients.iter_mut().enumerate() {
            let what = format!("{way}, number {number} of {MANY}");
            assert!(!client.is_closed(), "{what}: closed before it was answered");
            expect(client, number % FILES, &what);
        }
        assert_eq!(server.get("/0").body, content(0), "{way}");
    }
}

/// Stops it. The signal is only on its way when kill(2) returns.
fn stop(server: &Server) {
    server.signal(Signal::STOP);
    server.until("all threads are stopped", || {
        let threads = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
        let stats = threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("stat")));
        stats.flatten().all(|stat| stat.contains(") T "))
    });
}

fn expect_first(client: &mut Client, way: Way) {
    ask(client, 1);
    expect(client, 1, &format!("{way}, before"));
}

/// In a network of its own, where the lid on every backlog (listen(2)) is low. The listener is one
/// of the file system, which is the same in all networks, and who finds no room at it sleeps in
/// connect(2) until there is some.
fn serve_with_low_lid(way: Way, root: &Path, socket: &Path) -> Command {
    let mut command = Command::new("unshare");
    let script = "echo 8 >/proc/sys/net/core/somaxconn && exec \"$@\"";
    command.args(["--net", "sh", "-c", script, "sh", KAREZ, "serve"]).arg(root).args(way.flags());
    // The other address is the one that is said first.
    command.args(["--log", "off", "--listen", "0.0.0.0:0", "--listen"]);
    command.arg(format!("unix:{}", socket.display()));
    command
}

fn may_lower_the_lid() -> bool {
    let mut probe = Command::new("unshare");
    probe.args(["--net", "sh", "-c", "echo 8 >/proc/sys/net/core/somaxconn"]);
    let may = probe.output().is_ok_and(|output| output.status.success());
    if !may {
        println!("skipped: no network of one's own with a lower net.core.somaxconn");
    }
    may
}

#[test]
fn a_full_backlog_is_emptied_and_who_waited_before_it_is_answered() {
    const WAITING: usize = 40;
    if !may_lower_the_lid() {
        return;
    }
    let root = site();
    for way in ways::layouts() {
        println!("serving by {way}");
        let path = root.path().join(format!("socket-{}-{}", way.model, way.topology));
        let server = Server::spawn(serve_with_low_lid(way, root.path(), &path));
        // Whoever comes first is answered, so the listener is there and accepts.
        assert_eq!(ask_at(UnixStream::connect(&path).unwrap(), way), content(0), "{way}");
        stop(&server);
        let queued = fill(&path);
        println!("{} in the backlog", queued.len());
        thread::scope(|scope| {
            let path = &path;
            let waiting: Vec<_> = (0..WAITING)
                .map(|_| scope.spawn(move || ask_at(UnixStream::connect(path).unwrap(), way)))
                .collect();
            server.signal(Signal::CONT);
            for one in waiting {
                assert!(one.join().unwrap() == content(0), "{way}: who stood before the door");
            }
        });
        for one in queued {
            assert!(ask_at(one, way) == content(0), "{way}: who stood in the door");
        }
    }
}

/// Connects until there is no room.
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
        assert!(queued.len() < 1000, "the backlog has no end");
    }
}

/// The body of one answer, after which the connection ends.
fn ask_at(mut stream: UnixStream, way: Way) -> Vec<u8> {
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(REQUEST.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").as_bytes())
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{way}");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    answer.split_off(end)
}

#[test]
fn one_slow_reader_gets_all_while_two_hundred_fast_ones_are_served() {
    const FAST: usize = 200;
    const PART: usize = 1 << 20;
    const PARTS: usize = 32;
    /// So many answers to the others, then a part for the slow one.
    const BETWEEN: usize = 50;
    let root = site();
    let slow_content = pattern(PART * PARTS);
    fs::write(root.path().join("large"), &slow_content).unwrap();
    for way in ways::layouts() {
        let server = Server::start(way, root.path());
        let mut slow = server.connect();
        slow.narrow();
        assert_eq!(slow.begin("/large").status, 200, "{way}");
        let mut fast: Vec<_> = (0..FAST).map(|_| server.connect()).collect();
        let mut parts = slow_content.chunks(PART);
        for round in 0..PARTS * BETWEEN / FAST {
            for (number, client) in fast.iter_mut().enumerate() {
                ask(client, (number + round) % FILES);
            }
            for (number, client) in fast.iter_mut().enumerate() {
                expect(client, (number + round) % FILES, &format!("{way}, round {round}"));
                if number % BETWEEN == 0 {
                    let part = parts.next().unwrap();
                    assert!(slow.take(PART) == part, "{way}, round {round}: other bytes");
                }
            }
        }
        assert!(parts.next().is_none());
        ask(&mut slow, 3);
        expect(&mut slow, 3, &format!("{way}, the slow one"));
    }
}
