//! Costly work: only so much of it is begun in a turn of the event loop.

use karez_reactor::{ALLOWED, Event, Io, Mark, Model, NoJob, Peer, Service, Task, Topology};
use std::convert::Infallible;
use std::io::Write as _;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::scripted_task::{LONG, config, connect, many, read_some, serve_with};

/// How many connections begin work of this cost in one turn.
const PER_TURN: usize = 2;
const COST: Duration = Duration::from_micros(100);

/// How many connections ask for it at the same time.
const COUNT: usize = 12 * PER_TURN;

/// More than a turn has; the first connection may begin it nevertheless.
const WHOLE_TURN: Duration = Duration::from_millis(5);

/// The events of the event loop, in order, and whether the task that blocks it may go on.
#[derive(Default)]
struct Shared {
    log: Mutex<String>,
    gate: Mutex<(bool, bool)>,
    changed: Condvar,
}

struct Costly {
    shared: Arc<Shared>,
    cost: Duration,
    /// A refused connection has a timer that has been due for a while.
    impatient: bool,
    timed_out: bool,
}

impl Costly {
    /// Blocks the event loop, so that the bytes of all other connections arrive before its next turn.
    fn block(&self) {
        let mut gate = self.shared.gate.lock().unwrap();
        gate.0 = true;
        self.shared.changed.notify_all();
        drop(self.shared.changed.wait_while(gate, |gate| !gate.1));
    }

    fn try_to_start(&self, io: &mut Io<'_, NoJob>) {
        if !io.start_costly(self.cost) {
            if self.impatient {
                io.set_timer(Some(io.now()));
            }
            return self.shared.log.lock().unwrap().push('-');
        }
        self.shared.log.lock().unwrap().push('+');
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
            Event::Deferred if self.timed_out => {}
            Event::Received(..) | Event::Deferred => self.try_to_start(io),
            Event::Timer => {
                self.timed_out = true;
                io.outbox().push_bytes(b"t".to_vec());
                io.notify_sent(Mark(0));
            }
            _ => io.close(),
        }
    }
}

struct Costlies {
    shared: Arc<Shared>,
    cost: Duration,
    impatient: bool,
}

impl Service for Costlies {
    type Task = Costly;

    fn connect(&self, _: Peer, _: Instant) -> Costly {
        let Self { shared, cost, impatient } = self;
        let (shared, cost, impatient) = (Arc::clone(shared), *cost, *impatient);
        Costly { shared, cost, impatient, timed_out: false }
    }
}

#[test]
fn costly_work_is_spread_over_turns() {
    spread(COST, PER_TURN);
}

#[test]
fn a_deadline_passes_while_costly_work_waits() {
    ask_together(COST, true, |model, answers, _, name| {
        let late = answers.matches('t').count();
        match () {
            () if REPORT_ALL.contains(&model) => assert_eq!(late, COUNT - PER_TURN, "{name}"),
            () if model == Model::Blocking => assert_eq!(late, 0, "{name}"),
            () => {}
        }
    });
}

#[test]
fn work_that_takes_a_whole_turn_is_begun_once_a_turn() {
    spread(WHOLE_TURN, 1);
}

/// These report all bytes that have arrived in one turn.
const REPORT_ALL: [Model; 4] = [Model::EpollEdge, Model::EpollLevel, Model::Poll, Model::Select];

fn spread(cost: Duration, per_turn: usize) {
    ask_together(cost, false, |model, answers, log, name| {
        assert_eq!(answers, "+".repeat(COUNT), "{name}");
        assert_eq!(log.matches('+').count(), COUNT, "{name}: {log}");
        if REPORT_ALL.contains(&model) {
            // Those that are refused are not asked again before there is time for them.
            let rest = COUNT - per_turn;
            let expected = ["+".repeat(per_turn), "-".repeat(rest), "+".repeat(rest)].concat();
            assert_eq!(log, expected, "{name}");
        }
        if model == Model::Blocking {
            assert!(!log.contains('-'), "{name}: each connection has a thread");
        }
    });
}

/// Has 24 connections ask for work of this cost at the same time. `check` gets their answers, and the log.
fn ask_together(cost: Duration, impatient: bool, check: impl Fn(Model, &str, &str, &str) + Sync) {
    for &(model, topology) in ALLOWED.iter().filter(|(_, topology)| *topology == Topology::Single) {
        let shared = Arc::new(Shared::default());
        let service = Costlies { shared: Arc::clone(&shared), cost, impatient };
        serve_with(config(model, topology), many(), &service, |address, _, name| {
            let mut blocking = connect(address);
            let mut streams: Vec<_> = (0..COUNT).map(|_| connect(address)).collect();
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
            let mut answers = String::new();
            for stream in &mut streams {
                let mut answer = [0];
                assert_eq!(read_some(stream, &mut answer), 1, "{name}");
                answers.push(answer[0].into());
            }
            let log = shared.log.lock().unwrap().clone();
            check(model, &answers, &log, name);
        });
    }
}
