//! A server that does not run for a while (SIGSTOP, as by a suspended or starved machine): what came
//! before its deadlines is answered when it runs again, and downloads go on.

use karez_reactor::{Model, Topology};
use rustix::io::ioctl_fionread;
use rustix::process::Signal;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::client::Client;
use crate::files::pattern;
use crate::server::Server;
use crate::ways::{self, Way};

/// Every deadline of the server.
const DEADLINE: Duration = Duration::from_secs(2);

const FLAGS: &[&str] =
    &["--log", "off", "--header-timeout", "2s", "--idle-timeout", "2s", "--send-timeout", "2s"];

/// More than all socket buffers hold.
const LARGE: usize = 24 << 20;

const SMALL: usize = 100;

/// A request of which the server has a half when it is stopped.
const HALVES: [&str; 2] = ["GET /small HTTP/1.1\r\nHo", "st: test\r\n\r\n"];

/// A server that is stopped, and its clients, who have gone on meanwhile.
struct Suspended {
    way: Way,
    server: Server,
    /// Has sent all of a request: the first; the second; the rest of one that had begun.
    asking: [Client; 3],
    download: Client,
    /// What of the download has come.
    came: Vec<u8>,
}

impl Suspended {
    fn new(way: Way, root: &Path) -> Self {
        let mut flags = FLAGS.to_vec();
        if way.model == Model::Blocking && way.topology == Topology::Workers {
            flags.extend(["--workers", "8"]); // a connection each
        }
        let server = Server::start_with(way, root, &flags);
        // On a loaded machine a deadline may pass before the server is stopped.
        let (mut asking, mut download) = loop {
            let clients = clients(&server);
            stop(&server);
            if clients.0.iter().all(is_open) {
                break clients;
            }
            server.signal(Signal::CONT);
        };
        let [first, second, begun] = &mut asking;
        for client in [first, second] {
            client.send("GET /small HTTP/1.1\r\nHost: test\r\n\r\n");
        }
        begun.send(HALVES[1]);
        let came = take_all(&mut download);
        Self { way, server, asking, download, came }
    }

    fn go_on(mut self) {
        let way = self.way;
        self.server.signal(Signal::CONT);
        for (client, which) in self.asking.iter_mut().zip(["first", "second", "begun"]) {
            let Some(head) = client.head() else {
                panic!("{way}: the {which} request was cut off")
            };
            assert_eq!(head.status, 200, "{way}: the {which} request");
            assert!(client.take(SMALL) == pattern(SMALL), "{way}: other bytes");
        }
        let rest = self.download.take(LARGE - self.came.len());
        assert!([self.came, rest].concat() == pattern(LARGE), "{way}: other bytes");
        assert_eq!(self.download.get("/small").status, 200, "{way}: the connection stays");
    }
}

/// One that has said nothing, one that has been answered, one in the middle of a request, and one
/// for whose download there is no more room.
fn clients(server: &Server) -> ([Client; 3], Client) {
    let (first, mut second, mut begun) = (server.connect(), server.connect(), server.connect());
    assert_eq!(second.get("/small").status, 200);
    begun.send(HALVES[0]);
    let mut download = server.connect();
    download.narrow();
    assert_eq!(download.begin("/large").status, 200);
    let waiting = || ioctl_fionread(download.stream.get_ref()).unwrap();
    let mut before = 0;
    server.until("the download stands still", || {
        thread::sleep(Duration::from_millis(20));
        let now = waiting();
        now > 0 && std::mem::replace(&mut before, now) == now
    });
    ([first, second, begun], download)
}

/// Stops all its threads.
fn stop(server: &Server) {
    server.signal(Signal::STOP);
    server.until("every thread is stopped", || {
        let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
        tasks.map(|task| fs::read_to_string(task.unwrap().path().join("stat"))).all(|stat| {
            // The name may hold anything; the state stands behind it. One that ended meanwhile runs
            // no more.
            stat.is_ok_and(|stat| stat.rsplit(") ").next().unwrap().starts_with('T'))
        })
    });
}

fn is_open(client: &Client) -> bool {
    let socket = client.stream.get_ref();
    socket.set_nonblocking(true).unwrap();
    let nothing =
        socket.peek(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
    socket.set_nonblocking(false).unwrap();
    nothing
}

/// Takes what the kernel has for the client, whose server is stopped.
fn take_all(client: &mut Client) -> Vec<u8> {
    let (mut came, mut part) = (Vec::new(), vec![0; 1 << 20]);
    while !client.hears_nothing(Duration::from_millis(100)) {
        let count = client.stream.read(&mut part).unwrap();
        assert!(count > 0, "the download was cut off before");
        came.extend_from_slice(&part[..count]);
    }
    came
}

#[test]
fn requests_that_came_in_time_are_answered_and_downloads_go_on_after_a_stop() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("small"), pattern(SMALL)).unwrap();
    fs::write(root.path().join("large"), pattern(LARGE)).unwrap();
    let suspended: Vec<_> = ways::layouts().map(|way| Suspended::new(way, root.path())).collect();
    // Not an event that anybody could tell: all deadlines have passed.
    thread::sleep(DEADLINE + DEADLINE / 4);
    for server in suspended {
        println!("{} goes on", server.way);
        server.go_on();
    }
}

/// Deadlines still mean something afterwards.
#[test]
fn a_client_that_did_nothing_during_a_stop_is_timed_out() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("small"), pattern(SMALL)).unwrap();
    fs::write(root.path().join("large"), pattern(LARGE)).unwrap();
    let ways = ways::layouts().filter(|way| way.topology == Topology::Single);
    let mut stopped: Vec<_> = ways
        .map(|way| {
            let server = Server::start_with(way, root.path(), FLAGS);
            let alone = sockets(&server);
            let clients = clients(&server);
            stop(&server);
            (way, server, alone, clients)
        })
        .collect();
    thread::sleep(DEADLINE + DEADLINE / 4);
    for (way, server, alone, ([first, second, begun], download)) in &mut stopped {
        server.signal(Signal::CONT);
        assert_eq!(first.rest(), b"", "{way}");
        assert_eq!(second.rest(), b"", "{way}");
        begun.half_close(); // for the server waits for it after its last words
        assert_eq!(begun.response(false).status, 408, "{way}");
        server.until(&format!("{way}: the download is given up"), || sockets(server) == *alone);
        // What the kernel had, or less where the connection is reset.
        assert!(download.drain() < LARGE, "{way}");
    }
}

/// How many sockets the server has.
fn sockets(server: &Server) -> usize {
    server.descriptors().values().filter(|what| what.starts_with("socket:")).count()
}
