//! Model signal with a queue that holds nothing: every signal is lost, and all connections are
//! served all the same. A process of its own, for the limit is one of the process.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use karez_reactor::{
    ALLOWED, Address, Bound, Demultiplexer as _, Event, Interest, Io, Layout, Limits, Model, NoJob,
    Peer, Service, Signal, Stop, Task, Token, Wishes,
};
use karez_transfer::Mark;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(60);

struct Echo;

impl Task for Echo {
    type Job = NoJob;
    type Message = Infallible;

    fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, NoJob>) {
        match event {
            Event::Opened(_) | Event::Sent(_) => io.receive(io.now() + LONG, true, None),
            Event::Received(bytes, _) => {
                io.outbox().push_bytes(bytes.to_vec());
                io.notify_sent(Mark(0));
            }
            _ => io.close(),
        }
    }
}

struct Echoes;

impl Service for Echoes {
    type Task = Echo;

    fn connect(&self, _: Peer, _: Instant) -> Echo {
        Echo
    }
}

#[test]
fn when_the_queue_overflows_everybody_is_looked_at() {
    let maximum = getrlimit(Resource::Sigpending).maximum;
    setrlimit(Resource::Sigpending, Rlimit { current: Some(0), maximum }).unwrap();
    everybody_is_told();
    for &(model, topology) in ALLOWED.iter().filter(|(model, _)| *model == Model::Signal) {
        let (model, topology) = (Some(model), Some(topology));
        let wishes = Wishes { model, topology, ..Wishes::default() };
        let layout = Layout::choose(&wishes, NonZeroUsize::new(2).unwrap()).unwrap();
        let bound = Bound::bind(layout, &["127.0.0.1:0".parse().unwrap()]).unwrap();
        let Some(&Address::Tcp(address)) = bound.addresses().next() else { panic!() };
        let stop = Stop::new();
        let limits = Limits { connections: 100, grace: LONG };
        thread::scope(|scope| {
            let server = scope.spawn(|| bound.run(&Echoes, limits, &stop));
            let mut streams: Vec<_> =
                (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
            for round in 0..20 {
                for stream in &mut streams {
                    stream.write_all(&[round]).unwrap();
                }
                for stream in &mut streams {
                    let mut back = [0];
                    stream.read_exact(&mut back).unwrap();
                    assert_eq!(back, [round]);
                }
            }
            // More than the socket buffers hold, so that the room for it is told, too.
            let mut large = streams.pop().unwrap();
            let mut reader = large.try_clone().unwrap();
            scope.spawn(move || large.write_all(&vec![7; 16 << 20]).unwrap());
            reader.read_exact(&mut vec![0; 16 << 20]).unwrap();
            stop.begin();
            server.join().unwrap().unwrap();
        });
    }
}

/// One of two is written to; as nothing says which, both are told.
fn everybody_is_told() {
    let mut signal = Signal::new().unwrap();
    let ((a, _to_a), (b, mut to_b)) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
    signal.register(a.as_fd(), Token(1), Interest::READ).unwrap();
    signal.register(b.as_fd(), Token(2), Interest::READ).unwrap();
    let mut ready = Vec::new();
    signal.wait(Some(Duration::ZERO), &mut ready).unwrap(); // what they begin with
    ready.clear();
    signal.wait(Some(Duration::ZERO), &mut ready).unwrap();
    assert!(ready.is_empty(), "{ready:?}");
    to_b.write_all(b"x").unwrap();
    signal.wait(None, &mut ready).unwrap();
    let tokens: Vec<_> = ready.iter().map(|report| report.token).collect();
    assert_eq!(tokens, [Token(1), Token(2)]);
}
