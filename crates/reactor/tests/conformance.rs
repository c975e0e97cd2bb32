//! One suite for every model × topology: a wish is granted in the same way on all of them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it skips"
)]

use karez_reactor::{
    ALLOWED, Address, Bound, Event, Job, Layout, Limits, Model, Obstacle, Peer, Service, Stop,
    Task, Topology, Want,
};
use karez_transfer::Outbox;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(50);

/// Does what the first byte of a message says, and tells what came of it.
struct Puppet {
    want: Option<Want<Doubling>>,
    gave_up: Sender<u64>,
}

/// A job that can be told from an echo.
struct Doubling(Vec<u8>);

impl Job for Doubling {
    type Done = Vec<u8>;

    fn run(self) -> Vec<u8> {
        self.0.repeat(2)
    }
}

impl Puppet {
    fn obey(order: u8, rest: &[u8], now: Instant) -> Option<Want<Doubling>> {
        let later = |idle, wait| Want::Receive { until: now + wait, idle };
        match order {
            b'e' => Some(say(rest)),
            b'd' => Some(Want::Work(Doubling(rest.to_vec()))),
            b'b' => Some(Want::Send { outbox: vec![b'b'; 8 << 20].into(), stall: LONG }),
            b's' => Some(Want::Send { outbox: vec![b's'; 64 << 20].into(), stall: SHORT }),
            b't' => Some(later(false, SHORT)),
            b'w' => Some(later(false, LONG)),
            b'f' => Some(Want::Finish),
            _ => None,
        }
    }
}

fn say(what: &[u8]) -> Want<Doubling> {
    Want::Send { outbox: Outbox::from(what.to_vec()), stall: LONG }
}

impl Task for Puppet {
    type Job = Doubling;

    fn want(&mut self) -> Want<Doubling> {
        self.want.take().unwrap_or(Want::Close)
    }

    fn hear(&mut self, event: Event<'_, Vec<u8>>, now: Instant) {
        self.want = match event {
            Event::Received(bytes) => Self::obey(bytes[0], &bytes[1..], now),
            Event::Worked(bytes) => Some(say(&bytes)),
            Event::Sent(outbox) => {
                assert!(outbox.is_empty());
                Some(Want::Receive { until: now + LONG, idle: true })
            }
            Event::TimedOut => Some(say(b"too late")),
            Event::Finished => Some(Want::Receive { until: now + LONG, idle: false }),
            Event::Unsent(outbox, obstacle) => {
                assert!(!matches!(obstacle, Obstacle::Truncated { .. }));
                assert!(!outbox.is_empty());
                let _nobody_waits = self.gave_up.send(outbox.moved());
                None
            }
            Event::PeerClosed | Event::Failed(_) => None,
        };
    }
}

/// Tells how much went of what could not be sent whole.
struct Puppets(Mutex<Sender<u64>>);

impl Service for Puppets {
    type Task = Puppet;

    fn connect(&self, _: Peer, now: Instant) -> Puppet {
        let gave_up = self.0.lock().unwrap().clone();
        Puppet { want: Some(Want::Receive { until: now + LONG, idle: true }), gave_up }
    }
}

/// Runs `script` against a server in every layout, and the server to its end.
fn everywhere(limits: Limits, script: impl Fn(SocketAddr, &Stop, &str)) {
    everywhere_hearing(limits, |address, stop, name, _| script(address, stop, name));
}

/// The same, and hears of what could not be sent whole.
fn everywhere_hearing(limits: Limits, script: impl Fn(SocketAddr, &Stop, &str, &Receiver<u64>)) {
    let two = NonZeroUsize::new(2).unwrap();
    for &(model, topology) in ALLOWED {
        let name = format!("{model} × {topology}");
        let layout = Layout::choose(Some(model), Some(topology), None, two).unwrap();
        let bound = Bound::bind(layout, &["127.0.0.1:0".parse().unwrap()]).unwrap();
        let Some(&Address::Tcp(address)) = bound.addresses().next() else { panic!("{name}") };
        let stop = Stop::new();
        let (sender, given_up) = mpsc::channel();
        let service = Puppets(Mutex::new(sender));
        thread::scope(|scope| {
            let server = scope.spawn(|| bound.run(&service, limits, &stop));
            script(address, &stop, &name, &given_up);
            stop.begin();
            server.join().unwrap().unwrap();
        });
    }
}

fn many() -> Limits {
    Limits { connections: 1000, grace: LONG }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
}

fn ask(stream: &mut TcpStream, order: &[u8], answer: &[u8], name: &str) {
    stream.write_all(order).unwrap();
    let mut got = vec![0; answer.len()];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(got, answer, "{name}");
}

fn end_of(mut stream: TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    rest
}

#[test]
fn wishes_are_granted_in_turn() {
    everywhere(many(), |address, _, name| {
        let mut stream = connect(address);
        for _ in 0..100 {
            ask(&mut stream, b"ehello", b"hello", name);
            ask(&mut stream, b"dab", b"abab", name);
        }
        stream.write_all(b"x").unwrap();
        assert!(end_of(stream).is_empty(), "{name}");
    });
}

#[test]
fn many_connections_at_once_are_kept_apart() {
    everywhere(many(), |address, _, name| {
        let mut streams: Vec<_> = (0..200).map(|_| connect(address)).collect();
        for round in 0..5 {
            for (number, stream) in streams.iter_mut().enumerate() {
                let word = format!("{number}:{round}");
                ask(stream, format!("e{word}").as_bytes(), word.as_bytes(), name);
            }
        }
    });
}

#[test]
fn what_the_socket_does_not_take_at_once_arrives_all_the_same() {
    everywhere(many(), |address, _, name| {
        let mut stream = connect(address);
        stream.write_all(b"b").unwrap();
        let mut got = vec![0; 8 << 20];
        stream.read_exact(&mut got).unwrap();
        assert!(got.iter().all(|&byte| byte == b'b'), "{name}");
        ask(&mut stream, b"estill here", b"still here", name);
    });
}

#[test]
fn a_receive_comes_to_its_time() {
    everywhere(many(), |address, _, name| {
        let mut stream = connect(address);
        ask(&mut stream, b"t", b"too late", name);
        ask(&mut stream, b"eand on", b"and on", name);
    });
}

#[test]
fn a_peer_that_takes_nothing_is_given_up() {
    everywhere_hearing(many(), |address, _, name, given_up| {
        let mut stream = connect(address);
        stream.write_all(b"s").unwrap();
        let moved = given_up.recv_timeout(LONG).unwrap();
        assert!(moved < 64 << 20, "{name}: {moved}");
        assert_eq!(end_of(stream).len() as u64, moved, "{name}: what went arrives");
    });
}

#[test]
fn a_half_closed_peer_still_gets_its_answer() {
    everywhere(many(), |address, _, name| {
        let mut stream = connect(address);
        stream.write_all(b"b").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(end_of(stream).len(), 8 << 20, "{name}");
    });
}

#[test]
fn finish_sends_a_fin_and_goes_on_receiving() {
    everywhere(many(), |address, _, name| {
        let mut stream = connect(address);
        stream.write_all(b"f").unwrap();
        let mut nothing = [0; 1];
        assert_eq!(stream.read(&mut nothing).unwrap(), 0, "{name}: a FIN");
        stream.write_all(b"x").unwrap(); // heard, and answered by closing
        drop(stream);
    });
}

#[test]
fn one_too_many_takes_the_place_of_the_oldest_idle_one() {
    everywhere(Limits { connections: 4, grace: LONG }, |address, _, name| {
        let mut streams: Vec<_> = (0..4).map(|_| connect(address)).collect();
        for stream in &mut streams {
            ask(stream, b"eidle", b"idle", name);
        }
        streams[0].write_all(b"w").unwrap(); // busy from now on
        ask(&mut streams[2], b"eidle", b"idle", name); // younger than 1 and 3
        let mut late = connect(address);
        ask(&mut late, b"ehello", b"hello", name);
        let mut alive = 0;
        for mut stream in streams {
            let answered = stream.write_all(b"ehere").and_then(|()| stream.read_exact(&mut [0; 4]));
            alive += usize::from(answered.is_ok());
        }
        // With one reactor it is exactly the oldest; two know only their own.
        assert!(alive >= 3 || name.contains("reuseport"), "{name}: {alive}");
    });
}

#[test]
fn a_stop_closes_the_idle_and_lets_the_busy_finish() {
    everywhere(many(), |address, stop, name| {
        let mut idle = connect(address);
        ask(&mut idle, b"eidle", b"idle", name);
        let mut busy = connect(address);
        busy.write_all(b"b").unwrap();
        let mut first = [0; 1];
        busy.read_exact(&mut first).unwrap();
        stop.begin();
        assert!(end_of(idle).is_empty(), "{name}");
        assert_eq!(end_of(busy).len(), (8 << 20) - 1, "{name}");
    });
}

#[test]
fn the_grace_is_an_end() {
    let limits = Limits { connections: 10, grace: SHORT };
    everywhere(limits, |address, stop, name| {
        let mut busy = connect(address);
        busy.write_all(b"b").unwrap();
        let mut first = [0; 1];
        busy.read_exact(&mut first).unwrap();
        stop.begin();
        // The server ends although we do not read on: `everywhere` waits for it.
        std::mem::forget(busy);
        assert!(stop.has_begun(), "{name}");
    });
}

#[test]
fn unix_sockets_serve_too_and_their_names_go() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    for &(model, topology) in ALLOWED {
        let two = NonZeroUsize::new(2).unwrap();
        let layout = Layout::choose(Some(model), Some(topology), None, two).unwrap();
        let bound = Bound::bind(layout, &[Address::Unix(path.clone())]).unwrap();
        let stop = Stop::new();
        let stop_it = &stop;
        thread::scope(|scope| {
            let service = Puppets(Mutex::new(mpsc::channel().0));
            let server = scope.spawn(move || bound.run(&service, many(), stop_it));
            let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
            stream.write_all(b"ehello").unwrap();
            let mut got = [0; 5];
            stream.read_exact(&mut got).unwrap();
            assert_eq!(&got, b"hello");
            stop.begin();
            server.join().unwrap().unwrap();
        });
        assert!(!path.exists(), "{model} × {topology}");
    }
}

#[test]
fn a_name_left_over_is_taken_and_a_live_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap()); // leaves its name
    let one = NonZeroUsize::MIN;
    let layout = Layout::choose(Some(Model::EpollEdge), Some(Topology::Single), None, one).unwrap();
    let address = [Address::Unix(path)];
    let first = Bound::bind(layout, &address).unwrap();
    let error = Bound::bind(layout, &address).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    drop(first);
}
