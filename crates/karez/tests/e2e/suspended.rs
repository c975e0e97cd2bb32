//! A server that is stopped for a while (SIGSTOP; a suspended or overloaded machine behaves the
//! same): requests that arrived before their deadlines are answered when it continues, and
//! downloads resume.

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
use crate::layouts::{self, Layout};
use crate::server::Server;

/// Flags that set all timeouts of the server.
const FLAGS: &[&str] =
    &["--log", "off", "--header-timeout", "2s", "--idle-timeout", "2s", "--send-timeout", "2s"];

/// More than all socket buffers hold.
const LARGE: usize = 24 << 20;

const SMALL: usize = 100;

/// A request of which the server has received one half when it is stopped.
const HALVES: [&str; 2] = ["GET /small HTTP/1.1\r\nHo", "st: test\r\n\r\n"];

/// A stopped server, and its clients, which have sent requests meanwhile.
struct Suspended {
    layout: Layout,
    server: Server,
    /// Clients that have sent all of a request: the first on its connection; the second; the rest
    /// of a started one.
    asking: [Client; 3],
    download: Client,
    /// The received part of the download.
    received: Vec<u8>,
}

impl Suspended {
    fn new(layout: Layout, root: &Path) -> Self {
        let mut flags = FLAGS.to_vec();
        if layout.model == Model::Blocking && layout.topology == Topology::Workers {
            flags.extend(["--workers", "8"]); // a connection each
        }
        let server = Server::start_with(layout, root, &flags);
        // On a loaded machine a deadline may pass before the server is stopped.
        let (mut asking, mut download) = loop {
            let clients = clients(&server);
            server.suspend();
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
        let received = take_all(&mut download);
        Self { layout, server, asking, download, received }
    }

    fn resume(mut self) {
        let layout = self.layout;
        self.server.signal(Signal::CONT);
        for (client, which) in self.asking.iter_mut().zip(["first", "second", "begun"]) {
            let Some(head) = client.head() else {
                panic!("{layout}: the {which} request was aborted")
            };
            assert_eq!(head.status, 200, "{layout}: the {which} request");
            assert!(client.read_body(SMALL) == pattern(SMALL), "{layout}: other bytes");
        }
        let rest = self.download.read_body(LARGE - self.received.len());
        assert!([self.received, rest].concat() == pattern(LARGE), "{layout}: other bytes");
        assert_eq!(self.download.get("/small").status, 200, "{layout}: the connection stays open");
    }
}

/// Returns a silent client, one with a response, one in the middle of a request, and one with a
/// download that has filled all buffers.
fn clients(server: &Server) -> ([Client; 3], Client) {
    let (first, mut second, mut begun) = (server.connect(), server.connect(), server.connect());
    assert_eq!(second.get("/small").status, 200);
    begun.send(HALVES[0]);
    let mut download = server.connect();
    download.limit_receive_buffer();
    assert_eq!(download.start_get("/large").status, 200);
    let waiting = || ioctl_fionread(download.stream.get_ref()).unwrap();
    let mut before = 0;
    server.wait_until("the download stands still", || {
        thread::sleep(Duration::from_millis(20));
        let now = waiting();
        now > 0 && std::mem::replace(&mut before, now) == now
    });
    ([first, second, begun], download)
}

fn is_open(client: &Client) -> bool {
    let socket = client.stream.get_ref();
    socket.set_nonblocking(true).unwrap();
    let nothing =
        socket.peek(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
    socket.set_nonblocking(false).unwrap();
    nothing
}

/// Reads the bytes in the client's buffers while the server is stopped.
fn take_all(client: &mut Client) -> Vec<u8> {
    let (mut received, mut part) = (Vec::new(), vec![0; 1 << 20]);
    while !client.receives_nothing(Duration::from_millis(100)) {
        let count = client.stream.read(&mut part).unwrap();
        assert!(count > 0, "the download was cut off before");
        received.extend_from_slice(&part[..count]);
    }
    received
}

/// Waits until a server with the same timeouts closes a connection that is younger than those of the
/// stopped servers, whose deadlines have then passed, too.
fn wait_for_deadlines(root: &Path) {
    let layout = layouts::all().next().unwrap();
    let running = Server::start_with(layout, root, FLAGS);
    let (mut silent, mut idle) = (running.connect(), running.connect());
    assert_eq!(idle.get("/small").status, 200);
    assert_eq!((silent.read_to_end(), idle.read_to_end()), (Vec::new(), Vec::new()));
}

#[test]
fn requests_and_downloads_resume_after_sigstop() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("small"), pattern(SMALL)).unwrap();
    fs::write(root.path().join("large"), pattern(LARGE)).unwrap();
    let suspended: Vec<_> =
        layouts::all().map(|layout| Suspended::new(layout, root.path())).collect();
    wait_for_deadlines(root.path());
    for server in suspended {
        println!("{} continues", server.layout);
        server.resume();
    }
}

/// Timeouts still apply afterwards.
#[test]
fn clients_silent_during_sigstop_time_out() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("small"), pattern(SMALL)).unwrap();
    fs::write(root.path().join("large"), pattern(LARGE)).unwrap();
    let single = layouts::all().filter(|layout| layout.topology == Topology::Single);
    let mut stopped: Vec<_> = single
        .map(|layout| {
            let server = Server::start_with(layout, root.path(), FLAGS);
            let alone = sockets(&server);
            let clients = clients(&server);
            server.suspend();
            (layout, server, alone, clients)
        })
        .collect();
    wait_for_deadlines(root.path());
    for (layout, server, alone, ([first, second, begun], download)) in &mut stopped {
        server.signal(Signal::CONT);
        assert_eq!(first.read_to_end(), b"", "{layout}");
        assert_eq!(second.read_to_end(), b"", "{layout}");
        begun.half_close(); // for the server waits for it after its last words
        assert_eq!(begun.response(false).status, 408, "{layout}");
        server.wait_until(&format!("{layout}: the download is aborted"), || {
            sockets(server) == *alone
        });
        // The buffered part, or less after a reset.
        assert!(download.drain() < LARGE, "{layout}");
    }
}

/// Returns the number of sockets of the server.
fn sockets(server: &Server) -> usize {
    server.descriptors().values().filter(|what| what.starts_with("socket:")).count()
}
