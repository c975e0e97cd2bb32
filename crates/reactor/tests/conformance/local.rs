//! State that the tasks of one event loop share, and tasks that let the other connections receive first.

use karez_reactor::{ALLOWED, Event, Io, Local, Mark, Model, NoJob, Peer, Service, Task, Topology};
use std::convert::Infallible;
use std::io::Write as _;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::scripted_task::{LONG, config, connect, many, read_some, serve_with};

/// What the tasks of an event loop have done, in order, and whether one of them may go on.
#[derive(Default)]
struct Shared {
    log: Mutex<String>,
    /// A task blocks; it may go on.
    gate: Mutex<(bool, bool)>,
    changed: Condvar,
}

/// Counts the requests of one event loop.
#[derive(Default)]
struct Count {
    requests: usize,
    thread: Option<thread::ThreadId>,
}

impl Local for Count {}

struct Deferring {
    shared: Arc<Shared>,
    /// The epoch of the last receive.
    epoch: u64,
}

impl Deferring {
    fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), epoch: 0 }
    }

    fn received(&mut self, bytes: &[u8], io: &mut Io<'_, NoJob>) {
        assert!(io.epoch() > self.epoch, "bytes were received since");
        self.epoch = io.epoch();
        if *bytes == *b"block" {
            let mut gate = self.shared.gate.lock().unwrap();
            gate.0 = true;
            self.shared.changed.notify_all();
            drop(self.shared.changed.wait_while(gate, |gate| !gate.1));
            return self.answer('b', io);
        }
        self.shared.log.lock().unwrap().push('r');
        if io.may_defer() { io.defer() } else { self.answer('a', io) }
    }

    fn answer(&self, event: char, io: &mut Io<'_, NoJob>) {
        self.shared.log.lock().unwrap().push(event);
        let requests = io.local::<Count>().map_or(0, |count| {
            count.requests += 1;
            assert_eq!(count.thread, Some(thread::current().id()), "it is never shared");
            count.requests
        });
        assert!(io.local::<NotThere>().is_none());
        io.outbox().push_bytes(vec![u8::try_from(requests).unwrap()]);
        io.notify_sent(Mark(0));
    }
}

/// Another type than that of the state.
struct NotThere;

impl Local for NotThere {}

impl Task for Deferring {
    type Job = NoJob;
    type Message = Infallible;

    fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, NoJob>) {
        match event {
            Event::Opened(_) | Event::Sent(_) => io.receive(io.now() + LONG, true, None),
            Event::Received(bytes, _) => self.received(bytes, io),
            Event::Deferred => self.answer('d', io),
            _ => io.close(),
        }
    }
}

struct Deferrings(Arc<Shared>);

impl Service for Deferrings {
    type Task = Deferring;

    fn connect(&self, _: Peer, _: Instant) -> Deferring {
        Deferring::new(&self.0)
    }

    fn local(&self) -> Option<Box<dyn Local>> {
        let thread = Some(thread::current().id());
        Some(Box::new(Count { thread, ..Count::default() }))
    }
}

#[test]
fn deferred_tasks_go_on_when_all_connections_have_received() {
    for &(model, topology) in ALLOWED.iter().filter(|(_, topology)| *topology == Topology::Single) {
        let shared = Arc::new(Shared::default());
        let service = Deferrings(Arc::clone(&shared));
        serve_with(config(model, topology), many(), &service, |address, _, name| {
            let mut streams = [connect(address), connect(address), connect(address)];
            let mut last = 0;
            let mut answer = |stream: &mut std::net::TcpStream| {
                let mut buffer = [0; 1];
                assert_eq!(read_some(stream, &mut buffer), 1, "{name}");
                let shared = model != Model::Blocking;
                last += usize::from(shared);
                assert_eq!(usize::from(buffer[0]), last, "{name}: requests of the event loop");
            };
            for stream in &mut streams {
                stream.write_all(b"x").unwrap();
                answer(stream);
            }
            shared.log.lock().unwrap().clear();
            streams[0].write_all(b"block").unwrap();
            let gate = shared.gate.lock().unwrap();
            let mut gate = shared.changed.wait_while(gate, |gate| !gate.0).unwrap();
            for stream in &mut streams[1..] {
                stream.write_all(b"x").unwrap();
            }
            gate.1 = true;
            drop(gate);
            shared.changed.notify_all();
            let mut buffer = [0; 1];
            for stream in &mut streams {
                assert_eq!(read_some(stream, &mut buffer), 1, "{name}");
            }
            let log = shared.log.lock().unwrap().clone();
            let ordered = [Model::EpollEdge, Model::EpollLevel, Model::Poll, Model::Select];
            if ordered.contains(&model) {
                assert_eq!(log, "brrad", "{name}: the last one has not to wait");
            }
            assert_eq!(log.matches('r').count(), 2, "{name}: {log}");
            assert_eq!(log.len(), 5, "{name}: {log}");
        });
    }
}

/// Reports each call.
struct Ticking(Sender<()>);

impl Local for Ticking {
    fn tend(&mut self, now: Instant) -> Option<Instant> {
        // The test may be over.
        let _over = self.0.send(());
        Some(now + Duration::from_millis(10))
    }
}

struct Tickings(Arc<Shared>, Mutex<Sender<()>>);

impl Service for Tickings {
    type Task = Deferring;

    fn connect(&self, _: Peer, _: Instant) -> Deferring {
        Deferring::new(&self.0)
    }

    fn local(&self) -> Option<Box<dyn Local>> {
        Some(Box::new(Ticking(self.1.lock().unwrap().clone())))
    }
}

#[test]
fn state_is_tended_without_requests() {
    for &(model, topology) in ALLOWED.iter().filter(|(model, _)| *model != Model::Blocking) {
        let (sender, ticks) = channel();
        let service = Tickings(Arc::default(), Mutex::new(sender));
        serve_with(config(model, topology), many(), &service, |_, _, name| {
            for _ in 0..10 {
                ticks.recv_timeout(LONG).unwrap_or_else(|_| panic!("{name}: it waits"));
            }
        });
    }
}
