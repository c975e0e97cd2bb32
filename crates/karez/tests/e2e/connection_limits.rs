//! Connection and descriptor limits, and hostile peers: no client is starved.

use karez_reactor::{Model, Topology};
use rustix::net::sockopt;
use rustix::process::{Resource, Rlimit, Signal, prlimit};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::files::pattern;
use crate::layouts::{self, Layout};
use crate::server::Server;

/// More than all socket buffers hold.
pub const LARGE: usize = 64 << 20;

/// How long a test watches a connection on which nothing can arrive.
pub const QUIET_TIME: Duration = Duration::from_millis(300);

#[test]
fn server_sleeps_without_descriptors() {
    let root = site();
    // A multishot accept of io_uring keeps the limit of its submission: see completions.rs.
    for layout in layouts::all().filter(|layout| layout.model != Model::Uring) {
        let flags = ["--log", "off", "--max-connections", "1000"];
        let server = Server::start_with(layout, root.path(), &flags);
        let before = sockets(&server);
        let mut busy: Vec<_> = (0..10).map(|_| server.connect()).collect();
        for client in &mut busy {
            assert_eq!(client.start_get("/large").status, 200, "{layout}");
        }
        limit_descriptors(&server, layout, 0);
        let mut waiting = server.connect();
        waiting.send("GET /small HTTP/1.1\r\nHost: test\r\n\r\n");
        let (start, idle) = (Instant::now(), processor_time(&server));
        assert!(
            waiting.receives_nothing(Duration::from_secs(1)),
            "{layout}: there was a descriptor"
        );
        let used = processor_time(&server) - idle;
        let spins = layout.sleeps_when_idle() && used >= start.elapsed() / 4;
        assert!(!spins, "{layout}: {used:?} of CPU to wait for a descriptor");
        busy[0].read_body(8 << 20);
        drop(busy);
        expect_service(&server, &mut waiting, before, layout);
    }
}

#[test]
fn many_partial_requests_do_not_block_a_client() {
    let root = site();
    // A connection of posix-aio needs two descriptors: where new connections that wait for their
    // second one have taken all, one of them is closed, possibly the one of this test.
    for layout in layouts::all().filter(|layout| layout.model != Model::PosixAio) {
        let flags = ["--log", "off", "--max-connections", "1000", "--header-timeout", "1h"];
        let server = Server::start_with(layout, root.path(), &flags);
        let before = sockets(&server);
        limit_descriptors(&server, layout, 15);
        let crowd: Vec<_> = (0..60).map(|_| half_open(&server)).collect();
        let mut waiting = server.connect();
        waiting.send("GET /small HTTP/1.1\r\nHost: test\r\n\r\n");
        drop(crowd);
        expect_service(&server, &mut waiting, before, layout);
    }
}

#[test]
fn connections_up_to_the_limit_stay_open() {
    let root = site();
    for layout in layouts::all() {
        let server =
            Server::start_with(layout, root.path(), &["--log", "off", "--max-connections", "4"]);
        let mut clients: Vec<_> = (0..4).map(|_| server.connect()).collect();
        for round in 0..2 {
            for client in &mut clients {
                client.send("GET /small HTTP/1.1\r\nHost: test\r\n\r\n");
                assert!(!client.is_closed(), "{layout}, round {round}: closed below the limit");
                assert_eq!(client.response(false).body, b"small", "{layout}");
            }
        }
    }
}

#[test]
fn connection_over_the_limit_evicts_the_longest_idle() {
    let root = site();
    for layout in layouts::all() {
        let server =
            Server::start_with(layout, root.path(), &["--log", "off", "--max-connections", "4"]);
        let mut clients: Vec<_> = (0..4).map(|_| server.connect()).collect();
        for number in [0, 1, 2, 3, 0] {
            assert_eq!(clients[number].get("/small").body, b"small", "{layout}");
            if layout.sleeps_when_idle() {
                server.wait_until(&format!("{layout}: it sleeps"), || all_threads_sleep(&server));
            }
        }
        assert_eq!(server.get("/small").body, b"small", "{layout}");
        let mut closed = Vec::new();
        // A model that must cancel a poll closes a little later.
        server.wait_until(&format!("{layout}: one is closed"), || {
            closed = (0..4).filter(|&one| !clients[one].receives_nothing(Duration::ZERO)).collect();
            !closed.is_empty()
        });
        match layout.topology {
            Topology::Single | Topology::Workers => assert_eq!(closed, [1], "{layout}"),
            // Each reactor only knows the idle times of its own connections.
            _ => {
                assert_eq!(closed.len(), 1, "{layout}: {closed:?}");
            }
        }
        clients.remove(closed[0]);
        for client in &mut clients {
            assert_eq!(client.get("/small").body, b"small", "{layout}");
        }
    }
}

#[test]
fn limit_of_one_serves_every_listener() {
    let root = site();
    for layout in layouts::all() {
        let flags = ["--log", "off", "--max-connections", "1", "--listen"];
        let socket = root.path().join(format!("socket-{}-{}", layout.model, layout.topology));
        let unix = format!("unix:{}", socket.display());
        let server = Server::start_with(layout, root.path(), &[&flags[..], &[&unix]].concat());
        for _ in 0..3 {
            assert_eq!(server.get("/small").body, b"small", "{layout}");
            let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
            stream.write_all(b"GET /small HTTP/1.0\r\n\r\n").unwrap();
            let answered = crate::timeouts::is_readable(&stream, crate::timeouts::TEST_TIMEOUT);
            assert!(answered, "{layout}: the second listener does not accept");
        }
    }
}

#[test]
fn new_connection_waits_while_all_are_busy() {
    let root = site();
    for layout in layouts::all() {
        let server =
            Server::start_with(layout, root.path(), &["--log", "off", "--max-connections", "2"]);
        let (mut first, mut second) = (server.connect(), server.connect());
        assert_eq!(first.start_get("/large").status, 200, "{layout}");
        assert_eq!(second.start_get("/large").status, 200, "{layout}");
        let mut waiting = server.connect();
        waiting.send("GET /small HTTP/1.1\r\nHost: test\r\n\r\n");
        assert!(waiting.receives_nothing(QUIET_TIME), "{layout}: the backlog is full");
        drop(first);
        assert_eq!(waiting.response(false).body, b"small", "{layout}");
        // The busy connection was not evicted.
        second.read_body(LARGE);
        assert_eq!(second.get("/small").body, b"small", "{layout}");
    }
}

#[test]
fn hostile_peers_cannot_starve_a_client() {
    let root = site();
    for layout in layouts::all_with_vias() {
        let server = Server::start(layout, root.path());
        let mut stalled = server.connect();
        assert_eq!(stalled.start_get("/large").status, 200, "{layout}");
        let flood = server.connect();
        let stream: &std::net::TcpStream = flood.stream.get_ref();
        thread::scope(|scope| {
            scope.spawn(move || {
                let requests = "GET /kib HTTP/1.1\r\nHost: test\r\n\r\n".repeat(10_000);
                // The write fails when the test has finished.
                let _cut = { stream }.write_all(requests.as_bytes());
            });
            let mut polite = server.connect();
            for _ in 0..100 {
                assert_eq!(polite.get("/small").body, b"small", "{layout}");
            }
            stream.shutdown(Shutdown::Both).unwrap();
        });
    }
}

#[test]
fn reset_connections_release_their_descriptors() {
    let root = site();
    for layout in layouts::all_with_vias() {
        let server = Server::start(layout, root.path());
        let mut witness = server.connect();
        assert_eq!(witness.get("/small").body, b"small", "{layout}");
        // More for the file, which each event loop may keep open for a while.
        let before = server.open_for_clients(root.path()) + layout.reactors().max(1);
        for _ in 0..50 {
            let mut client = server.connect();
            assert_eq!(client.start_get("/large").status, 200, "{layout}");
            sockopt::set_socket_linger(client.stream.get_ref(), Some(Duration::ZERO)).unwrap();
        }
        server.wait_until(&format!("{layout}: all descriptors are closed"), || {
            assert_eq!(witness.get("/small").body, b"small", "{layout}");
            server.open_for_clients(root.path()) <= before
        });
    }
}

#[test]
fn broken_pipe_does_not_end_the_server() {
    let root = site();
    for layout in layouts::all_with_vias() {
        let server = Server::start(layout, root.path());
        server.signal(Signal::PIPE);
        for _ in 0..5 {
            // Dropped with unread bytes, so the connection is reset while the server sends.
            assert_eq!(server.connect().start_get("/large").status, 200, "{layout}");
        }
        assert_eq!(server.get("/small").body, b"small", "{layout}");
    }
}

#[test]
fn half_closed_client_receives_the_whole_response() {
    let root = tempfile::tempdir().unwrap();
    let content = pattern(1 << 20);
    fs::write(root.path().join("mib"), &content).unwrap();
    for layout in layouts::all_with_vias() {
        let server = Server::start(layout, root.path());
        let mut client = server.connect();
        client.send("GET /mib HTTP/1.1\r\nHost: test\r\n\r\n");
        client.half_close();
        let response = client.response(false);
        assert_eq!(response.status, 200, "{layout}");
        assert!(response.body == content, "{layout}: other bytes");
        assert_eq!(client.read_to_end(), b"", "{layout}");
    }
}

/// Creates `small` with five bytes, `kib` with a KiB, and a `large` file of zeros.
pub fn site() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("small"), "small").unwrap();
    fs::write(root.path().join("kib"), pattern(1024)).unwrap();
    File::create(root.path().join("large")).unwrap().set_len(LARGE as u64).unwrap();
    root
}

/// Expects a response to the waiting request, and service for new clients when the other
/// connections have ended.
fn expect_service(server: &Server, waiting: &mut Client, sockets_before: usize, layout: Layout) {
    // The connection may have got the last descriptor, with none free for the file.
    let status = waiting.response(false).status;
    assert!(matches!(status, 200 | 503), "{layout}: {status}");
    server.wait_until(&format!("{layout}: the other connections are closed"), || {
        sockets(server) <= sockets_before + 1
    });
    assert_eq!(server.get("/small").body, b"small", "{layout}");
}

pub fn half_open(server: &Server) -> Client {
    let mut client = server.connect();
    client.send("GET /small HTTP/1.1\r\nHost:");
    client
}

/// Returns the number of sockets, including listeners and the two for signals. With posix-aio a
/// connection may have two descriptors.
fn sockets(server: &Server) -> usize {
    let targets = server.descriptors().into_values();
    targets.filter(|target| target.starts_with("socket:")).collect::<BTreeSet<_>>().len()
}

/// Limits the server to this number of further descriptors, once all its threads have started.
pub fn limit_descriptors(server: &Server, layout: Layout, more: u64) {
    // The descriptor that a reactor opens last, and their number when all have started.
    let (kind, count) = match layout.model {
        Model::EpollEdge | Model::EpollLevel => ("eventpoll", layout.reactors()),
        Model::Blocking => ("eventfd", 1),
        // Two pipe ends per reactor, and standard output and error.
        Model::Signal | Model::PosixAio => ("pipe:", 2 * layout.reactors() + 2),
        Model::Uring => ("[io_uring]", layout.reactors()),
        _ => ("eventfd", layout.reactors()),
    };
    server.wait_until(&format!("{layout}: every reactor has its descriptors"), || {
        server.descriptors().values().filter(|target| target.contains(kind)).count() >= count
    });
    let taken = server.descriptors();
    let mut free = (0..).filter(|number| !taken.contains_key(number));
    // Descriptors are numbers below the limit, and the lowest free one is used.
    let limit = free.nth(usize::try_from(more).unwrap());
    let limit = Rlimit { current: limit, maximum: limit };
    prlimit(Some(server.process()), Resource::Nofile, limit).unwrap();
}

/// Returns whether all work after a response is done.
pub fn all_threads_sleep(server: &Server) -> bool {
    let threads = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let stats = threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("stat")));
    // A thread that has ended has nothing left to do.
    stats.flatten().all(|stat| stat.contains(") S "))
}

/// Returns the CPU time of the server, in user space and in the kernel.
fn processor_time(server: &Server) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    let after_name = stat.rsplit(") ").next().unwrap();
    let ticks = after_name.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap());
    // USER_HZ, the unit of proc(5), is 100 on all 64-bit Linux.
    Duration::from_millis(ticks.sum::<u64>() * 10)
}
