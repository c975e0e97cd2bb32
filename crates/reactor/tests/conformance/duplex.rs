//! Several things at a time on one connection: receiving, sending, jobs and a timer.

use karez_reactor::{
    ALLOWED, Event, Io, Job, JobId, Mark, NoJob, Peer, Service, Shutdown, SocketOption, Task,
};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Instant;

use crate::scripted_task::{LONG, SHORT, ask, config, connect, end_of, many, serve_with};

/// More than the buffers of two sockets hold.
const MUCH: usize = 16 << 20;

/// Makes such a task for each connection.
struct Each<T>(fn() -> T);

impl<T: Task> Service for Each<T> {
    type Task = T;

    fn connect(&self, _: Peer, _: Instant) -> T {
        (self.0)()
    }
}

/// Runs `script` against a server of such tasks in every config.
fn everywhere<T: Task>(task: fn() -> T, script: impl Fn(SocketAddr, &Shutdown, &str)) {
    for &(model, topology) in ALLOWED {
        serve_with(config(model, topology), many(), &Each(task), &script);
    }
}

fn send_last(bytes: &[u8], io: &mut Io<'_, impl Job>) {
    io.outbox().push_bytes(bytes.to_vec());
    io.notify_sent(Mark(9));
}

/// Sends much and receives as much at the same time.
#[derive(Default)]
struct Both {
    received: usize,
    sent: bool,
}

impl Task for Both {
    type Job = NoJob;
    type Message = Infallible;

    fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, NoJob>) {
        match event {
            Event::Opened(_) => {
                io.send_timeout(LONG);
                io.outbox().push_bytes(vec![b's'; MUCH]);
                io.notify_sent(Mark(1));
                io.receive(io.now() + LONG, false, None);
            }
            Event::Received(bytes, _) => {
                self.received += bytes.len();
                if self.received < MUCH {
                    io.receive(io.now() + LONG, false, None);
                }
            }
            Event::Sent(mark) => {
                assert_eq!(mark, Mark(1));
                self.sent = true;
            }
            Event::Closing(_) => {}
            _ => panic!("{event:?}"),
        }
        if self.sent && self.received == MUCH {
            io.close();
        }
    }
}

/// The peer reads nothing before it has sent everything, so neither can wait for the other.
#[test]
fn receiving_goes_on_while_the_peer_takes_nothing() {
    everywhere(Both::default, |address, _, name| {
        let mut stream = connect(address);
        stream.set_write_timeout(Some(LONG)).unwrap();
        stream.write_all(&vec![b'c'; MUCH]).unwrap();
        let received = end_of(stream);
        assert!(received.len() == MUCH, "{name}: {}", received.len());
    });
}

/// Has as many jobs run as it may, and one more when these are done.
#[derive(Default)]
struct Squares(BTreeSet<u64>);

#[derive(Debug)]
struct Square(u64);

impl Job for Square {
    type Done = u64;

    fn run(self) -> u64 {
        self.0 * self.0
    }
}

impl Task for Squares {
    type Job = Square;
    type Message = Infallible;

    fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, Square>) {
        match event {
            Event::Opened(_) => {
                for number in 0..64 {
                    assert!(io.run(JobId(number), Square(number)).is_ok());
                }
                assert_eq!(io.run(JobId(64), Square(64)).unwrap_err().0, 64, "comes back");
            }
            Event::JobDone(JobId(number), Ok(square)) => {
                assert_eq!(square, number * number);
                assert!(self.0.insert(number), "once");
                match self.0.len() {
                    64 => assert!(io.run(JobId(64), Square(64)).is_ok()),
                    65 => send_last(b"all", io),
                    _ => {}
                }
            }
            Event::Sent(_) => io.close(),
            Event::Closing(_) => {}
            _ => panic!("{event:?}"),
        }
    }
}

#[test]
fn several_jobs_run_at_once_and_their_results_have_their_ids() {
    everywhere(Squares::default, |address, _, name| {
        assert_eq!(end_of(connect(address)), b"all", "{name}");
    });
}

/// Has a job run that ends when something has been received.
#[derive(Default)]
struct Gated(Option<Sender<()>>);

struct Gate(Mutex<Receiver<()>>);

impl Job for Gate {
    type Done = bool;

    fn run(self) -> bool {
        self.0.lock().unwrap().recv_timeout(LONG).is_ok()
    }
}

impl Task for Gated {
    type Job = Gate;
    type Message = Infallible;

    fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, Gate>) {
        match event {
            Event::Opened(_) => {
                let (sender, gate) = mpsc::channel();
                self.0 = Some(sender);
                assert!(io.run(JobId(3), Gate(Mutex::new(gate))).is_ok());
                send_last(b"begun", io);
                io.receive(io.now() + LONG, false, None);
            }
            Event::Received(..) => self.0.take().unwrap().send(()).unwrap(),
            Event::JobDone(id, Ok(opened)) => {
                assert!(id == JobId(3) && opened);
                send_last(b"through", io);
                io.shutdown_write();
            }
            Event::Sent(_) | Event::Closing(_) => {}
            _ => panic!("{event:?}"),
        }
    }
}

#[test]
fn sending_and_receiving_go_on_while_a_job_runs() {
    everywhere(Gated::default, |address, _, name| {
        if name.contains("single") && !name.starts_with("blocking") {
            return; // jobs run inline
        }
        let mut stream = connect(address);
        ask(&mut stream, b"", b"begun", name);
        stream.write_all(b"open").unwrap();
        assert_eq!(end_of(stream), b"through", "{name}");
    });
}

/// Sends something each time the timer fires.
#[derive(Default)]
struct Ticks(u8);

impl Task for Ticks {
    type Job = NoJob;
    type Message = Infallible;

    fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, NoJob>) {
        match event {
            Event::Opened(_) => {
                // The one set last is the one.
                io.set_timer(Some(io.now() + LONG));
                io.set_timer(Some(io.now() + SHORT / 2));
            }
            Event::Timer => {
                self.0 += 1;
                io.outbox().push_bytes(vec![self.0]);
                io.notify_sent(Mark(u64::from(self.0)));
                io.set_timer(Some(io.now() + SHORT / 2));
                if self.0 == 3 {
                    io.set_timer(None);
                    io.receive(io.now() + 4 * SHORT, true, None);
                }
            }
            Event::ReceiveTimedOut => send_last(b"over", io),
            Event::Sent(Mark(9)) => io.close(),
            Event::Sent(_) | Event::Closing(_) => {}
            _ => panic!("{event:?}"),
        }
    }
}

#[test]
fn a_timer_fires_until_it_is_taken_back() {
    everywhere(Ticks::default, |address, _, name| {
        assert_eq!(end_of(connect(address)), b"\x01\x02\x03over", "{name}");
    });
}

/// Says goodbye.
#[derive(Default)]
struct Polite;

impl Task for Polite {
    type Job = NoJob;
    type Message = Infallible;

    fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, NoJob>) {
        match event {
            Event::Opened(_) | Event::Sent(_) => io.receive(io.now() + LONG, true, None),
            Event::Received(bytes, _) => {
                io.outbox().push_bytes(bytes.to_vec());
                io.notify_sent(Mark(0));
            }
            Event::Closing(_) => io.outbox().push_bytes(b"goodbye".to_vec()),
            _ => io.close(),
        }
    }
}

#[test]
fn a_farewell_arrives_when_the_server_stops() {
    everywhere(Polite::default, |address, stop, name| {
        let mut streams: Vec<_> = (0..5).map(|_| connect(address)).collect();
        for stream in &mut streams {
            ask(stream, b"hello", b"hello", name);
        }
        stop.trigger();
        for stream in streams {
            assert_eq!(end_of(stream), b"goodbye", "{name}");
        }
    });
}

/// Sets options of its socket.
#[derive(Default)]
struct Configured(usize);

impl Task for Configured {
    type Job = NoJob;
    type Message = Infallible;

    fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, NoJob>) {
        match event {
            Event::Opened(_) => {
                io.configure(SocketOption::NoDelay(true));
                io.configure(SocketOption::KeepAlive(true));
                io.configure(SocketOption::UserTimeout(60_000));
                io.set_timer(Some(io.now() + LONG));
            }
            Event::Configured(result) => {
                result.unwrap();
                self.0 += 1;
                if self.0 == 3 {
                    send_last(b"set", io);
                }
            }
            Event::Sent(_) => io.close(),
            Event::Closing(_) => {}
            _ => panic!("{event:?}"),
        }
    }
}

#[test]
fn options_are_set_and_their_results_delivered() {
    everywhere(Configured::default, |address, _, name| {
        assert_eq!(end_of(connect(address)), b"set", "{name}");
    });
}
