//! Costly work: only so many connections begin it in a turn of the event loop.

use karez_reactor::{ALLOWED, Event, Io, Mark, Model, NoJob, Peer, Service, Task, Topology};
use std::convert::Infallible;
use std::io::Write as _;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use crate::scripted_task::{LONG, config, connect, many, read_some, serve_with};

/// How many connections begin costly work in one turn.
const PER_TURN: usize = 8;

/// The events of the event loop, in order, and whether the task that blocks it may go on.
#[derive(Default)]
struct Shared {
    log: Mutex<String>,
    gate: Mutex<(bool, bool)>,
    changed: Condvar,
}

struct Costly(Arc<Shared>);

impl Costly {
    /// Blocks the event loop, so that the bytes of all other connections arrive before its next turn.
    fn block(&self) {
        let mut gate = self.0.gate.lock().unwrap();
        gate.0 = true;
        self.0.changed.notify_all();
        drop(self.0.changed.wait_while(gate, |gate| !gate.1));
    }

    fn try_to_start(&self, io: &mut Io<'_, NoJob>) {
        if !io.start_costly() {
            return self.0.log.lock().unwrap().push('-');
        }
        self.0.log.lock().unwrap().push('+');
        io.outbox().push_bytes(b"+".to_vec());
        io.notify_sent(Mark(0));
    }
}

impl Task for Costly {
    type Job = NoJob;
    type Message = Infallible;

    fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, NoJob>) {
        match event {
            Event::Opened(_) | Event::Sent(_) => io.receive(io.now() + LONG, true, None),
            Event::Received(bytes, _) if *bytes == *b"block" => {
                self.block();
                io.receive(io.now() + LONG, true, None);
            }
            Event::Received(..) | Event::Deferred => self.try_to_start(io),
            _ => io.close(),
        }
    }
}

struct Costlies(Arc<Shared>);

impl Service for Costlies {
    type Task = Costly;

    fn connect(&self, _: Peer, _: Instant) -> Costly {
        Costly(Arc::clone(&self.0))
    }
}

#[test]
fn costly_work_is_spread_over_turns() {
    for &(model, topology) in ALLOWED.iter().filter(|(_, topology)| *topology == Topology::Single) {
        let shared = Arc::new(Shared::default());
        let service = Costlies(Arc::clone(&shared));
        serve_with(config(model, topology), many(), &service, |address, _, name| {
            let mut blocking = connect(address);
            let mut streams: Vec<_> = (0..3 * PER_TURN).map(|_| connect(address)).collect();
            // All are accepted.
            for stream in &mut streams {
                stream.write_all(b"x").unwrap();
                assert_eq!(read_some(stream, &mut [0]), 1, "{name}");
            }
            shared.log.lock().unwrap().clear();
            blocking.write_all(b"block").unwrap();
            let gate = shared.gate.lock().unwrap();
            let mut gate = shared.changed.wait_while(gate, |gate| !gate.0).unwrap();
            for stream in &mut streams {
                stream.write_all(b"x").unwrap();
            }
            gate.1 = true;
            drop(gate);
            shared.changed.notify_all();
            for stream in &mut streams {
                assert_eq!(read_some(stream, &mut [0]), 1, "{name}");
            }
            let log = shared.log.lock().unwrap().clone();
            assert_eq!(log.matches('+').count(), 3 * PER_TURN, "{name}: {log}");
            // These report all bytes that have arrived in one turn.
            let whole = [Model::EpollEdge, Model::EpollLevel, Model::Poll, Model::Select];
            if whole.contains(&model) {
                let turn = |waiting| "+".repeat(PER_TURN) + &"-".repeat(waiting);
                let expected = [turn(2 * PER_TURN), turn(PER_TURN), turn(0)].concat();
                assert_eq!(log, expected, "{name}");
            }
            if model == Model::Blocking {
                assert!(!log.contains('-'), "{name}: each connection has a thread");
            }
        });
    }
}
