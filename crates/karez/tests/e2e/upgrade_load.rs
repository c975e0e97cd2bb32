//! Upgrades and reloads under load, with strict clients: a connection that ends without `Connection: close` or
//! GOAWAY before it is a failure, and so is a refused one.
//!
//! `KAREZ_UPGRADES` sets the number of upgrades per layout, `KAREZ_UPGRADE_REQUESTS` the number of requests between
//! two of them.

use rustix::process::{Signal, kill_process};
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::files::pattern;
use crate::http2_client::Http2Client;
use crate::https::text;
use crate::layouts;
use crate::server::{KAREZ, Server};
use crate::socket::Socket;
use crate::timeouts::TEST_TIMEOUT;
use crate::upgrades::{Successor, upgrade, wait_for_end};

const LARGE: usize = 8 << 20;

/// The state that the clients share.
struct Load<'a> {
    address: SocketAddr,
    content: &'a [u8],
    stop: AtomicBool,
    requests: AtomicU64,
}

impl Load<'_> {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn count(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits for so many more requests.
    fn wait_for(&self, count: u64) {
        let (start, end) = (Instant::now(), self.requests.load(Ordering::Relaxed) + count);
        while self.requests.load(Ordering::Relaxed) < end {
            assert!(start.elapsed() < TEST_TIMEOUT, "the clients make no requests");
            assert!(self.goes_on(), "a client has failed");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Requests on one connection until its end is announced. The client panics if it ends otherwise.
    fn keep_alive(&self) {
        while self.goes_on() {
            let mut client = Client::connect(self.address);
            while self.goes_on() {
                let response = client.get("/file");
                assert_eq!(response.body, b"file");
                self.count();
                if response.field("connection") == Some("close") {
                    assert_eq!(client.read_to_end(), b"");
                    break;
                }
            }
        }
    }

    /// The same with pauses, so that the connection is idle when an upgrade begins.
    fn idle(&self) {
        while self.goes_on() {
            let mut client = Client::connect(self.address);
            while self.goes_on() {
                thread::sleep(Duration::from_millis(20));
                let response = client.get("/file");
                assert_eq!(response.body, b"file");
                self.count();
                if response.field("connection") == Some("close") {
                    break;
                }
            }
        }
    }

    /// A connection for each request.
    fn connect(&self) {
        while self.goes_on() {
            let mut client = Client::connect(self.address);
            let response = client.request("GET", "/file", "Connection: close\r\n");
            assert_eq!(response.body, b"file");
            self.count();
        }
    }

    /// Downloads that take longer than an upgrade.
    fn download(&self) {
        let mut client = Client::connect(self.address);
        while self.goes_on() {
            client.limit_receive_buffer();
            let head = client.start_get("/large");
            assert_eq!(head.status, 200);
            let mut body = Vec::with_capacity(LARGE);
            while body.len() < LARGE {
                body.extend(client.read_body(LARGE / 8));
                if self.goes_on() {
                    thread::sleep(Duration::from_millis(5));
                }
            }
            assert!(body == self.content, "the body has other bytes");
            self.count();
            if head.field("connection") == Some("close") {
                assert_eq!(client.read_to_end(), b"");
                client = Client::connect(self.address);
            }
        }
    }

    /// Two streams at a time until GOAWAY. A stream above its last one was not served and is repeated.
    fn multiplex(&self) {
        while self.goes_on() {
            let mut client = Http2Client::over(Socket::connect(self.address), &[]);
            let mut next = 1;
            while self.goes_on() && client.goaway.is_none() {
                client.get(next, "/file");
                client.get(next + 2, "/large");
                for (stream, body) in [(next, &b"file"[..]), (next + 2, self.content)] {
                    let over = |client: &Http2Client| client.response(stream).is_over();
                    let unserved =
                        |client: &Http2Client| client.goaway.is_some_and(|(last, _)| last < stream);
                    let answered = client.read_until(|client| over(client) || unserved(client));
                    assert!(answered, "the connection ended: GOAWAY {:?}", client.goaway);
                    if over(&client) {
                        let response = client.responses.remove(&stream).unwrap();
                        assert_eq!(response.reset, None);
                        assert!(response.body == body, "the body has other bytes");
                        self.count();
                    }
                }
                next += 4;
            }
        }
    }
}

/// Stops the other clients when one panics.
struct StopOnPanic<'a>(&'a AtomicBool);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |number| number.parse().unwrap())
}

#[test]
fn upgrades_and_reloads_under_load_fail_no_request() {
    let (upgrades, requests) = (number("KAREZ_UPGRADES", 2), number("KAREZ_UPGRADE_REQUESTS", 100));
    let directory = tempfile::tempdir().unwrap();
    let content = pattern(LARGE);
    fs::write(directory.path().join("file"), "file").unwrap();
    fs::write(directory.path().join("large"), &content).unwrap();
    let file = directory.path().join("karez.toml");
    let root = text(directory.path());
    let keys =
        format!("root = \"{root}\"\nlisten = \"127.0.0.1:0\"\nlog = \"off\"\ngrace = \"1h\"\n");
    fs::write(&file, keys).unwrap();
    for layout in layouts::sample() {
        let mut command = Command::new(KAREZ);
        command.args(["serve", "--config", text(&file)]).args(layout.flags());
        let server = Server::spawn(command);
        let load = Load {
            address: server.address,
            content: &content,
            stop: AtomicBool::new(false),
            requests: AtomicU64::new(0),
        };
        let mut processes: Vec<Successor> = Vec::new();
        thread::scope(|scope| {
            let _stop = StopAtEnd(&load.stop);
            let clients: [fn(&Load<'_>); 6] = [
                |load| load.keep_alive(),
                |load| load.keep_alive(),
                |load| load.idle(),
                |load| load.connect(),
                |load| load.download(),
                |load| load.multiplex(),
            ];
            for client in clients {
                let load = &load;
                scope.spawn(move || {
                    let _stop = StopOnPanic(&load.stop);
                    client(load);
                });
            }
            for _ in 0..upgrades {
                load.wait_for(requests);
                let before = processes.last().map_or(server.process(), Successor::pid);
                kill_process(before, Signal::HUP).unwrap();
                load.wait_for(requests);
                processes.push(upgrade(before));
                load.wait_for(requests);
                wait_for_end(before);
            }
        });
        println!("{layout}: {} requests", load.requests.load(Ordering::Relaxed));
        // The last one is still there.
        assert_eq!(server.get("/file").body, b"file", "{layout}");
    }
}

/// Ends the clients, also by a panic of the test.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
