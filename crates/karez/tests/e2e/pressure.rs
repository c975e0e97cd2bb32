//! Pressure: more connections than there is room for, and peers that spoil it for the others.

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
use crate::server::Server;
use crate::ways::{self, Way};

/// More than all socket buffers hold.
const LARGE: usize = 64 << 20;

/// Long enough to see that nothing comes, where nothing can come.
const A_WHILE: Duration = Duration::from_millis(300);

#[test]
fn without_descriptors_the_server_waits_and_does_not_spin() {
    let root = site();
    // A multishot accept of io_uring knows the limit of when it was begun: see completions.rs.
    for way in ways::layouts().filter(|way| way.model != Model::Uring) {
        let flags = ["--log", "off", "--max-connections", "1000"];
        let server = Server::start_with(way, root.path(), &flags);
        let before = sockets(&server);
        let mut busy: Vec<_> = (0..10).map(|_| server.connect()).collect();
        for client in &mut busy {
            assert_eq!(client.begin("/large").status, 200, "{way}");
        }
        limit_descriptors(&server, way, 0);
        if way.model == Model::Blocking {
            // Whoever sleeps in accept(2) has its descriptor already.
            busy.push(last_one_in(&server));
        }
        let mut waiting = server.connect();
        waiting.send("GET /small HTTP/1.1\r\nHost: test\r\n\r\n");
        let (start, idle) = (Instant::now(), processor_time(&server));
        assert!(waiting.hears_nothing(Duration::from_secs(1)), "{way}: there was a descriptor");
        let used = processor_time(&server) - idle;
        let spins = way.rests() && used >= start.elapsed() / 4;
        assert!(!spins, "{way}: {used:?} of CPU to wait for a descriptor");
        busy[0].take(8 << 20);
        drop(busy);
        expect_service(&server, &mut waiting, before, way);
    }
}

#[test]
fn a_crowd_of_half_open_requests_passes() {
    let root = site();
    // A connection of posix-aio needs two descriptors: where all are taken by newcomers that wait
    // for their second, one is let go, and it may be the one that this test waits for.
    for way in ways::layouts().filter(|way| way.model != Model::PosixAio) {
        let flags = ["--log", "off", "--max-connections", "1000", "--header-timeout", "1h"];
        let server = Server::start_with(way, root.path(), &flags);
        let before = sockets(&server);
        limit_descriptors(&server, way, 15);
        let crowd: Vec<_> = (0..60).map(|_| half_open(&server)).collect();
        let mut waiting = server.connect();
        waiting.send("GET /small HTTP/1.1\r\nHost: test\r\n\r\n");
        drop(crowd);
        expect_service(&server, &mut waiting, before, way);
    }
}

#[test]
fn as_many_as_are_allowed_stay() {
    let root = site();
    for way in ways::layouts() {
        let server =
            Server::start_with(way, root.path(), &["--log", "off", "--max-connections", "4"]);
        let mut clients: Vec<_> = (0..4).map(|_| server.connect()).collect();
        for round in 0..2 {
            for client in &mut clients {
                client.send("GET /small HTTP/1.1\r\nHost: test\r\n\r\n");
                assert!(
                    !client.is_closed(),
                    "{way}, round {round}: closed, and nobody needs the room"
                );
                assert_eq!(client.response(false).body, b"small", "{way}");
            }
        }
    }
}

#[test]
fn one_more_costs_the_oldest_idle_one() {
    let root = site();
    for way in ways::layouts() {
        let server =
            Server::start_with(way, root.path(), &["--log", "off", "--max-connections", "4"]);
        let mut clients: Vec<_> = (0..4).map(|_| server.connect()).collect();
        for number in [0, 1, 2, 3, 0] {
            assert_eq!(clients[number].get("/small").body, b"small", "{way}");
            if way.rests() {
                server.until(&format!("{way}: it rests"), || all_threads_sleep(&server));
            }
        }
        assert_eq!(server.get("/small").body, b"small", "{way}");
        let mut closed = Vec::new();
        // A model whose poll has to be cancelled closes a little later.
        server.until(&format!("{way}: one is closed"), || {
            closed = (0..4).filter(|&one| !clients[one].hears_nothing(Duration::ZERO)).collect();
            !closed.is_empty()
        });
        match way.topology {
            Topology::Single | Topology::Workers => assert_eq!(closed, [1], "{way}"),
            // Each reactor knows the ages of its own.
            Topology::Multi | Topology::Reuseport => {
                assert_eq!(closed.len(), 1, "{way}: {closed:?}");
            }
        }
        clients.remove(closed[0]);
        for client in &mut clients {
            assert_eq!(client.get("/small").body, b"small", "{way}");
        }
    }
}

#[test]
fn every_listener_has_room_though_only_one_connection_is_allowed() {
    let root = site();
    for way in ways::layouts() {
        let flags = ["--log", "off", "--max-connections", "1", "--listen"];
        let socket = root.path().join(format!("socket-{}-{}", way.model, way.topology));
        let unix = format!("unix:{}", socket.display());
        let server = Server::start_with(way, root.path(), &[&flags[..], &[&unix]].concat());
        for _ in 0..3 {
            assert_eq!(server.get("/small").body, b"small", "{way}");
            let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
            stream.write_all(b"GET /small HTTP/1.0\r\n\r\n").unwrap();
            let answered = crate::patience::is_readable(&stream, crate::patience::PATIENCE);
            assert!(answered, "{way}: nobody accepts at the second listener");
        }
    }
}

#[test]
fn when_all_are_busy_the_next_one_waits_for_its_turn() {
    let root = site();
    for way in ways::layouts() {
        let server =
            Server::start_with(way, root.path(), &["--log", "off", "--max-connections", "2"]);
        let (mut first, mut second) = (server.connect(), server.connect());
        assert_eq!(first.begin("/large").status, 200, "{way}");
        assert_eq!(second.begin("/large").status, 200, "{way}");
        let mut waiting = server.connect();
        waiting.send("GET /small HTTP/1.1\r\nHost: test\r\n\r\n");
        assert!(waiting.hears_nothing(A_WHILE), "{way}: there was no room");
        drop(first);
        assert_eq!(waiting.response(false).body, b"small", "{way}");
        // A busy one did not have to go.
        second.take(LARGE);
        assert_eq!(second.get("/small").body, b"small", "{way}");
    }
}

#[test]
fn rude_connections_cannot_starve_another() {
    let root = site();
    for way in ways::all() {
        let server = Server::start(way, root.path());
        let mut stalled = server.connect();
        assert_eq!(stalled.begin("/large").status, 200, "{way}");
        let flood = server.connect();
        let stream = flood.stream.get_ref();
        thread::scope(|scope| {
            scope.spawn(move || {
                let requests = "GET /kib HTTP/1.1\r\nHost: test\r\n\r\n".repeat(10_000);
                // It is cut short when the test has seen enough.
                let _cut = { stream }.write_all(requests.as_bytes());
            });
            let mut polite = server.connect();
            for _ in 0..100 {
                assert_eq!(polite.get("/small").body, b"small", "{way}");
            }
            stream.shutdown(Shutdown::Both).unwrap();
        });
    }
}

#[test]
fn clients_that_reset_leave_nothing_behind() {
    let root = site();
    for way in ways::all() {
        let server = Server::start(way, root.path());
        let mut witness = server.connect();
        assert_eq!(witness.get("/small").body, b"small", "{way}");
        // One more for the file, which may stay open for a while.
        let before = open_things(&server) + 1;
        for _ in 0..200 {
            let mut client = server.connect();
            assert_eq!(client.begin("/large").status, 200, "{way}");
            sockopt::set_socket_linger(client.stream.get_ref(), Some(Duration::ZERO)).unwrap();
        }
        server.until(&format!("{way}: all descriptors are closed"), || {
            assert_eq!(witness.get("/small").body, b"small", "{way}");
            open_things(&server) <= before
        });
    }
}

#[test]
fn a_broken_pipe_is_no_end() {
    let root = site();
    for way in ways::all() {
        let server = Server::start(way, root.path());
        server.signal(Signal::PIPE);
        for _ in 0..5 {
            // Dropped with bytes unread, so the peer is gone while the server sends.
            assert_eq!(server.connect().begin("/large").status, 200, "{way}");
        }
        assert_eq!(server.get("/small").body, b"small", "{way}");
    }
}

#[test]
fn who_has_said_all_still_hears_all() {
    let root = tempfile::tempdir().unwrap();
    let content = pattern(1 << 20);
    fs::write(root.path().join("mib"), &content).unwrap();
    for way in ways::all() {
        let server = Server::start(way, root.path());
        let mut client = server.connect();
        client.send("GET /mib HTTP/1.1\r\nHost: test\r\n\r\n");
        client.half_close();
        let response = client.response(false);
        assert_eq!(response.status, 200, "{way}");
        assert!(response.body == content, "{way}: other bytes");
        assert_eq!(client.rest(), b"", "{way}");
    }
}

/// `small` has five bytes, `kib` a KiB, `large` is large and holds zeros.
fn site() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("small"), "small").unwrap();
    fs::write(root.path().join("kib"), pattern(1024)).unwrap();
    File::create(root.path().join("large")).unwrap().set_len(LARGE as u64).unwrap();
    root
}

/// A busy connection. Some may be closed while they still look idle, to make room.
fn last_one_in(server: &Server) -> Client {
    loop {
        let mut client = server.connect();
        client.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
        if !client.is_closed() {
            return client;
        }
    }
}

/// An answer to the request that waits, and service for all when the crowd is gone.
fn expect_service(server: &Server, waiting: &mut Client, sockets_before: usize, way: Way) {
    // There may have been a descriptor for the connection and none yet for the file.
    let status = waiting.response(false).status;
    assert!(matches!(status, 200 | 503), "{way}: {status}");
    server.until(&format!("{way}: the crowd is gone"), || sockets(server) <= sockets_before + 1);
    assert_eq!(server.get("/small").body, b"small", "{way}");
}

fn half_open(server: &Server) -> Client {
    let mut client = server.connect();
    client.send("GET /small HTTP/1.1\r\nHost:");
    client
}

/// How many files and sockets the server has open. What its threads wait with does not count.
fn open_things(server: &Server) -> usize {
    let descriptors = server.descriptors();
    descriptors.values().filter(|target| !target.starts_with("anon_inode:")).count()
}

/// How many sockets it has, those that listen and two that belong to its signals included. With
/// posix-aio one may have two descriptors.
fn sockets(server: &Server) -> usize {
    let targets = server.descriptors().into_values();
    targets.filter(|target| target.starts_with("socket:")).collect::<BTreeSet<_>>().len()
}

/// From now on the server can open so many and no more, once all its threads have begun.
fn limit_descriptors(server: &Server, way: Way, more: u64) {
    // What a reactor opens last, and how many of it there are when all have.
    let (kind, count) = match way.model {
        Model::EpollEdge | Model::EpollLevel => ("eventpoll", way.reactors()),
        Model::Blocking => ("eventfd", 1),
        // Two ends of each, and what the server writes to.
        Model::Signal | Model::PosixAio => ("pipe:", 2 * way.reactors() + 2),
        Model::Uring => ("[io_uring]", way.reactors()),
        _ => ("eventfd", way.reactors()),
    };
    server.until(&format!("{way}: every reactor has what it needs"), || {
        server.descriptors().values().filter(|target| target.contains(kind)).count() >= count
    });
    let taken = server.descriptors();
    let mut free = (0..).filter(|number| !taken.contains_key(number));
    // Descriptors are numbers below the limit, and the lowest free one is taken.
    let limit = free.nth(usize::try_from(more).unwrap());
    let limit = Rlimit { current: limit, maximum: limit };
    prlimit(Some(server.process()), Resource::Nofile, limit).unwrap();
}

/// Whether all has been done that follows an answer.
fn all_threads_sleep(server: &Server) -> bool {
    let threads = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let stats = threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("stat")));
    // A thread that is gone by now has nothing left to do.
    stats.flatten().all(|stat| stat.contains(") S "))
}

/// What the server has used of the processors, in user space and in the kernel.
fn processor_time(server: &Server) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    let after_name = stat.rsplit(") ").next().unwrap();
    let ticks = after_name.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap());
    // USER_HZ, which proc(5) counts in, is 100 wherever Linux has 64 bits.
    Duration::from_millis(ticks.sum::<u64>() * 10)
}
