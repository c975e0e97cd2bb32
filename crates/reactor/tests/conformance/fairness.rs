//! Connections that go on sending: what another one has received does not wait for all of them.

use karez_reactor::{ALLOWED, Event, Io, Mark, NoJob, Peer, Service, Task, Topology};
use std::convert::Infallible;
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::scripted_task::{LONG, config, connect, end_of, many, read_some, serve_with};

/// Connections that always have something to send.
const SENDERS: usize = 16;

/// The time that each of their sends takes, so that a few of them take longer than senders may in a turn.
const COST: Duration = Duration::from_micros(50);

/// The requests, and the sends between two of them: at different points of the order in which the senders run.
const REQUESTS: usize = 12;
const BETWEEN: usize = 37;

/// The most sends of all between a request and its event: what is left of one turn of a connection, and another.
const MOST: usize = 48;

#[derive(Default)]
struct Shared {
    /// How many connections there are.
    connected: usize,
    /// The client that makes the requests.
    client: Option<TcpStream>,
    sends: usize,
    /// The number of sends at the last request that has not arrived.
    requested: Option<usize>,
    /// The sends between each request and its event.
    waited: Vec<usize>,
}

enum Member {
    Sender(Arc<Mutex<Shared>>),
    Receiver(Arc<Mutex<Shared>>),
}

impl Shared {
    /// Counts a send, and makes a request from time to time; false if all have been made.
    fn count_send(&mut self) -> bool {
        self.sends += 1;
        if let Some(client) = &mut self.client
            && self.requested.is_none()
            && self.sends.is_multiple_of(BETWEEN)
        {
            client.write_all(b"x").unwrap();
            self.requested = Some(self.sends);
        }
        self.waited.len() < REQUESTS
    }
}

fn send_one(io: &mut Io<'_, NoJob>) {
    io.outbox().push_bytes(b"s".to_vec());
    io.notify_sent(Mark(0));
}

impl Task for Member {
    type Job = NoJob;
    type Message = Infallible;

    fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, NoJob>) {
        match (self, event) {
            (Self::Sender(_), Event::Opened(_)) => send_one(io),
            (Self::Sender(shared), Event::Sent(_)) => {
                let end = Instant::now() + COST;
                while Instant::now() < end {}
                if !shared.lock().unwrap().count_send() {
                    return io.close();
                }
                send_one(io);
            }
            (Self::Receiver(_), Event::Opened(_)) => io.receive(io.now() + LONG, true, None),
            (Self::Receiver(shared), Event::Received(..)) => {
                let mut shared = shared.lock().unwrap();
                if let Some(at) = shared.requested.take() {
                    let waited = shared.sends - at;
                    shared.waited.push(waited);
                }
                if shared.waited.len() == REQUESTS {
                    return io.close();
                }
                io.receive(io.now() + LONG, true, None);
            }
            _ => io.close(),
        }
    }
}

struct Members(Arc<Mutex<Shared>>);

impl Service for Members {
    type Task = Member;

    fn connect(&self, _: Peer, _: Instant) -> Member {
        let mut shared = self.0.lock().unwrap();
        shared.connected += 1;
        let member = if shared.connected > SENDERS { Member::Receiver } else { Member::Sender };
        member(Arc::clone(&self.0))
    }
}

#[test]
fn a_receive_does_not_wait_for_all_that_go_on_sending() {
    // Completion models have no turns of connections that could go on; threads are scheduled by the kernel.
    let allowed = ALLOWED.iter().filter(|(model, topology)| {
        !model.is_completion() && model.name() != "blocking" && *topology == Topology::Single
    });
    for &(model, topology) in allowed {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let service = Members(Arc::clone(&shared));
        serve_with(config(model, topology), many(), &service, |address, _, name| {
            let mut senders: Vec<_> = (0..SENDERS).map(|_| connect(address)).collect();
            for sender in &mut senders {
                assert_eq!(read_some(sender, &mut [0]), 1, "{name}");
            }
            let receiver = connect(address);
            shared.lock().unwrap().client = Some(receiver.try_clone().unwrap());
            end_of(receiver);
            let waited = shared.lock().unwrap().waited.clone();
            assert!(waited.iter().all(|waited| *waited <= MOST), "{name}: {waited:?}");
        });
    }
}
