//! A panic in a task, its job, its destructor, its service or the state that tasks share ends no other
//! connection and no event loop.

use karez_reactor::{
    ALLOWED, Event, Io, Job, JobId, Local, Mark, Model, Peer, Service, Task, Topology,
};
use std::convert::Infallible;
use std::io::{ErrorKind, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::scripted_task::{LONG, ask, config, connect, many, serve_with, try_read};

/// The state of a service.
#[derive(Default)]
struct Shared {
    /// The next connection has no task.
    refuses: AtomicBool,
    /// Tasks that were dropped.
    dropped: AtomicUsize,
    /// The state of an event loop panics once.
    trips: AtomicBool,
}

/// Answers with the bytes that it receives, or panics as they say.
struct Fragile {
    shared: &'static Shared,
    drops_badly: bool,
}

/// A job that panics, or returns its bytes.
#[derive(Debug)]
struct FragileJob(Vec<u8>);

impl Job for FragileJob {
    type Done = Vec<u8>;

    fn run(self) -> Vec<u8> {
        assert_ne!(self.0, b"job", "a job panics");
        self.0
    }
}

impl Task for Fragile {
    type Job = FragileJob;
    type Message = Infallible;

    fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, FragileJob>) {
        match event {
            Event::Opened(_) | Event::Sent(_) => io.receive(io.now() + LONG, true, None),
            Event::Received(bytes, _) => match &*bytes {
                b"task" => {
                    // Requests that no other connection may get.
                    io.run(JobId(7), FragileJob(b"of another".to_vec())).unwrap();
                    io.outbox().push_bytes(b"half of an answer".to_vec());
                    panic!("a task panics");
                }
                b"drop" => {
                    self.drops_badly = true;
                    panic!("a task panics, and its destructor will");
                }
                bytes => io.run(JobId(1), FragileJob(bytes.to_vec())).unwrap(),
            },
            Event::JobDone(_, Ok(bytes)) => {
                io.outbox().push_bytes(bytes);
                io.notify_sent(Mark(0));
            }
            _ => io.close(),
        }
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        self.shared.dropped.fetch_add(1, Ordering::SeqCst);
        assert!(!self.drops_badly, "a destructor panics");
    }
}

struct Fragiles(&'static Shared);

impl Service for Fragiles {
    type Task = Fragile;

    fn connect(&self, _: Peer, _: Instant) -> Fragile {
        assert!(!self.0.refuses.swap(false, Ordering::SeqCst), "a service panics");
        Fragile { shared: self.0, drops_badly: false }
    }

    fn local(&self) -> Option<Box<dyn Local>> {
        Some(Box::new(Tripping(self.0)))
    }
}

struct Tripping(&'static Shared);

impl Local for Tripping {
    fn tend(&mut self, now: Instant) -> Option<Instant> {
        assert!(!self.0.trips.swap(false, Ordering::SeqCst), "the state of an event loop panics");
        Some(now + Duration::from_millis(10))
    }
}

/// Expects the end of the connection without an answer.
fn expect_end(mut stream: TcpStream, what: &str) {
    let read = try_read(&mut stream, &mut [0; 100]);
    let reset = |error: &std::io::Error| error.kind() == ErrorKind::ConnectionReset;
    assert!(read.as_ref().map_or_else(reset, |count| *count == 0), "{what}: {read:?}");
}

/// Asks for something that panics on a new connection, which must end.
fn provoke(address: SocketAddr, order: &[u8], name: &str) {
    let mut stream = connect(address);
    ask(&mut stream, b"before", b"before", name);
    stream.write_all(order).unwrap();
    expect_end(stream, &format!("{name}, {}", order.escape_ascii()));
}

#[test]
fn a_panic_ends_its_own_connection_alone() {
    for &(model, topology) in ALLOWED {
        let shared: &Shared = Box::leak(Box::default());
        serve_with(config(model, topology), many(), &Fragiles(shared), |address, _, name| {
            let mut others: Vec<_> = (0..4).map(|_| connect(address)).collect();
            for round in 0..3 {
                provoke(address, b"task", name);
                provoke(address, b"drop", name);
                provoke(address, b"job", name);
                shared.refuses.store(true, Ordering::SeqCst);
                expect_end(connect(address), &format!("{name}, no task"));
                for other in &mut others {
                    ask(other, b"still here", b"still here", &format!("{name}, {round}"));
                }
            }
        });
        assert_eq!(shared.dropped.load(Ordering::SeqCst), 4 + 3 * 3, "{model} × {topology}");
    }
}

#[test]
fn an_event_loop_that_panics_goes_on_with_its_listener() {
    for &(model, topology) in ALLOWED.iter().filter(|(model, _)| *model != Model::Blocking) {
        let shared: &Shared = Box::leak(Box::default());
        serve_with(config(model, topology), many(), &Fragiles(shared), |address, _, name| {
            let mut before = connect(address);
            ask(&mut before, b"before", b"before", name);
            shared.trips.store(true, Ordering::SeqCst);
            while shared.trips.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            if topology == Topology::Single {
                expect_end(before, name);
            }
            for _ in 0..8 {
                ask(&mut connect(address), b"afterwards", b"afterwards", name);
            }
        });
    }
}
