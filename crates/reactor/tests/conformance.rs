//! One suite for every model × topology: a wish is granted in the same way on all of them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it skips"
)]

use karez_reactor::{
    ALLOWED, Address, Bound, Event, Job, Layout, Limits, Model, Obstacle, Peer, Service, Stop,
    Task, Topology, Want, Wishes,
};
use karez_transfer::Outbox;
use rustix::net::sockopt::set_socket_linger;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(50);

/// Does what the first byte of a message says, and tells what came of it.
struct Puppet {
    want: Option<Want<Chore>>,
    gave_up: Sender<u64>,
}

/// Jobs that can be told from an echo.
enum Chore {
    Double(Vec<u8>),
    /// Waits until the gate is opened.
    Wait,
    /// The name of the thread that does it, which need not be another.
    Name,
    Panic,
}

/// Where [`Chore::Wait`] waits: how many do, and how many may pass.
static GATE: (Mutex<(usize, usize)>, Condvar) = (Mutex::new((0, 0)), Condvar::new());

impl Job for Chore {
    type Done = Vec<u8>;

    fn run(self) -> Vec<u8> {
        match self {
            Self::Double(bytes) => bytes.repeat(2),
            Self::Wait => {
                let mut gate = GATE.0.lock().unwrap();
                gate.0 += 1;
                GATE.1.notify_all();
                let mut gate = GATE.1.wait_while(gate, |gate| gate.1 == 0).unwrap();
                *gate = (gate.0 - 1, gate.1 - 1);
                GATE.1.notify_all();
                b"through".to_vec()
            }
            Self::Name => thread::current().name().unwrap_or("?").as_bytes().to_vec(),
            Self::Panic => panic!("a job that panics, as this test wants it"),
        }
    }

    fn try_run(self) -> Result<Vec<u8>, Self> {
        match self {
            Self::Name => Ok(self.run()),
            job => Err(job),
        }
    }
}

impl Puppet {
    fn obey(order: u8, rest: &[u8], now: Instant) -> Option<Want<Chore>> {
        let later = |idle, wait| Want::Receive { until: now + wait, idle };
        match order {
            b'e' => Some(say(rest)),
            b'd' => Some(Want::Work(Chore::Double(rest.to_vec()))),
            b'g' => Some(Want::Work(Chore::Wait)),
            b'n' => Some(Want::Work(Chore::Name)),
            b'p' => Some(Want::Work(Chore::Panic)),
            b'b' => Some(Want::Send { outbox: vec![b'b'; 8 << 20].into(), stall: LONG }),
            b's' => Some(Want::Send { outbox: vec![b's'; 64 << 20].into(), stall: SHORT }),
            b't' => Some(later(false, SHORT)),
            b'w' => Some(later(false, LONG)),
            b'f' => Some(Want::Finish),
            _ => None,
        }
    }
}

fn say(what: &[u8]) -> Want<Chore> {
    Want::Send { outbox: Outbox::from(what.to_vec()), stall: LONG }
}

impl Task for Puppet {
    type Job = Chore;

    fn want(&mut self) -> Want<Chore> {
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

/// Of two reactors, where there can be several.
fn layout(model: Model, topology: Topology) -> Layout {
    let two = NonZeroUsize::new(2).unwrap();
    // Several that ask all the time leave too little of a small machine for those who ask them.
    let yields = model == Model::Nonblocking;
    let (model, topology) = (Some(model), Some(topology));
    Layout::choose(&Wishes { model, topology, yields, ..Wishes::default() }, two).unwrap()
}

/// Runs `script` against a server in every layout, and the server to its end.
fn everywhere(limits: Limits, script: impl Fn(SocketAddr, &Stop, &str)) {
    everywhere_hearing(limits, |address, stop, name, _| script(address, stop, name));
}

/// The same, and hears of what could not be sent whole.
fn everywhere_hearing(limits: Limits, script: impl Fn(SocketAddr, &Stop, &str, &Receiver<u64>)) {
    for &(model, topology) in ALLOWED {
        let name = format!("{model} × {topology}");
        let layout = layout(model, topology);
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

/// Runs `script` where jobs that may block go to a pool.
fn with_a_pool(script: impl Fn(SocketAddr, &Stop, &str)) {
    everywhere(many(), |address, stop, name| {
        if !name.contains("single") && !name.contains("blocking") {
            script(address, stop, name);
        }
    });
}

/// Waits until so many wait at the gate.
fn at_the_gate(count: usize) {
    drop(GATE.1.wait_while(GATE.0.lock().unwrap(), |gate| gate.0 < count).unwrap());
}

fn at_the_gate_is_nobody() {
    drop(GATE.1.wait_while(GATE.0.lock().unwrap(), |gate| gate.0 > 0).unwrap());
}

fn open_the_gate(count: usize) {
    GATE.0.lock().unwrap().1 += count;
    GATE.1.notify_all();
}

/// The gate is one, so whatever has to do with it is one test.
#[test]
fn a_job_that_blocks_holds_up_nobody_else_and_is_finished_though_the_server_stops() {
    with_a_pool(|address, stop, name| {
        let mut held: Vec<_> = (0..3).map(|_| connect(address)).collect();
        for stream in &mut held {
            stream.write_all(b"g").unwrap();
        }
        at_the_gate(3);
        let mut others: Vec<_> = (0..10).map(|_| connect(address)).collect();
        for _ in 0..10 {
            for stream in &mut others {
                ask(stream, b"ehello", b"hello", name);
                ask(stream, b"dab", b"abab", name);
            }
        }
        drop(held.pop()); // missed by nobody
        stop.begin();
        for stream in others {
            assert!(end_of(stream).is_empty(), "{name}: idle");
        }
        open_the_gate(3);
        for stream in held {
            assert_eq!(end_of(stream), b"through", "{name}");
        }
        at_the_gate_is_nobody();
    });
}

#[test]
fn a_short_job_stays_where_it_is_and_sub_reactors_share_alike() {
    everywhere(many(), |address, _, name| {
        let mut streams: Vec<_> = (0..10).map(|_| connect(address)).collect();
        let mut by_thread = HashMap::new();
        for stream in &mut streams {
            stream.write_all(b"n").unwrap();
            let mut thread = [0; 32];
            let count = stream.read(&mut thread).unwrap();
            let thread = String::from_utf8_lossy(&thread[..count]).into_owned();
            let expected = match name {
                "blocking × single" => "karez-conn",
                "blocking × workers" => "karez-work",
                _ => "karez-",
            };
            assert!(thread.starts_with(expected), "{name}: {thread}");
            assert!(name.contains("blocking") || !thread.contains("work"), "{name}: {thread}");
            *by_thread.entry(thread).or_insert(0) += 1;
        }
        if name.contains("multi") {
            let even = HashMap::from([("karez-0".to_owned(), 5), ("karez-1".to_owned(), 5)]);
            assert_eq!(by_thread, even, "{name}");
        }
    });
}

#[test]
fn a_job_that_panics_ends_its_connection_and_no_other() {
    with_a_pool(|address, _, name| {
        let mut witness = connect(address);
        // More often than there are threads in the pool.
        for _ in 0..20 {
            let mut stream = connect(address);
            stream.write_all(b"p").unwrap();
            assert!(end_of(stream).is_empty(), "{name}");
            ask(&mut witness, b"dab", b"abab", name);
        }
    });
}

/// Connections that come and go, politely and not; the numbers of their descriptors come again.
#[test]
fn whoever_comes_and_goes_those_who_stay_are_served() {
    everywhere(many(), |address, _, name| {
        let mut random = Random(0x6b61_7265_7a00_0001);
        let mut streams: Vec<TcpStream> = Vec::new();
        for step in 0..600 {
            let place = random.below(streams.len().max(1));
            match random.below(8) {
                0..3 if streams.len() < 30 => streams.push(connect(address)),
                3 if !streams.is_empty() => drop(streams.swap_remove(place)),
                4 if !streams.is_empty() => {
                    // With an answer on its way to it.
                    let mut stream = streams.swap_remove(place);
                    stream.write_all(b"ehello").unwrap();
                }
                5 if !streams.is_empty() => {
                    let mut stream = streams.swap_remove(place);
                    stream.write_all(b"b").unwrap();
                    set_socket_linger(&stream, Some(Duration::ZERO)).unwrap(); // a reset
                }
                _ if !streams.is_empty() => {
                    let word = format!("step {step}");
                    let order = format!("e{word}");
                    ask(&mut streams[place], order.as_bytes(), word.as_bytes(), name);
                    ask(&mut streams[place], b"dab", b"abab", name);
                }
                _ => {}
            }
        }
        for stream in &mut streams {
            ask(stream, b"ehello", b"hello", name);
        }
    });
}

/// xorshift64: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}

#[test]
fn two_thousand_are_served_of_which_most_are_idle() {
    const ALL: usize = 2000;
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    if maximum.is_some_and(|maximum| maximum < 3 * ALL as u64) {
        return println!("skipped: this process may not open enough for both ends");
    }
    everywhere(Limits { connections: ALL, grace: LONG }, |address, _, name| {
        if name.contains("blocking") {
            return; // a thread for each would be another test
        }
        let mut streams: Vec<_> = (0..ALL).map(|_| connect(address)).collect();
        for round in 0..2 {
            let (busy, _idle) = streams.split_at_mut(ALL / 4);
            for (number, stream) in busy.iter_mut().enumerate() {
                stream.write_all(format!("e{number}:{round}").as_bytes()).unwrap();
            }
            for (number, stream) in busy.iter_mut().enumerate() {
                let word = format!("{number}:{round}");
                let mut got = vec![0; word.len()];
                stream.read_exact(&mut got).unwrap();
                assert_eq!(got, word.as_bytes(), "{name}");
            }
            streams.rotate_left(ALL / 4);
        }
        ask(streams.last_mut().unwrap(), b"ehello", b"hello", name);
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
        assert!(alive >= 3, "{name}: {alive}");
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
        let layout = layout(model, topology);
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
    let layout = layout(Model::EpollEdge, Topology::Single);
    let address = [Address::Unix(path)];
    let first = Bound::bind(layout, &address).unwrap();
    let error = Bound::bind(layout, &address).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    drop(first);
}
