//! A task that resets its connection while it receives: the peer must not see a regular end.

use karez_reactor::{ALLOWED, Event, Io, NoJob, Peer, Service, Task, Topology};
use std::convert::Infallible;
use std::io::{ErrorKind, Read as _};
use std::time::{Duration, Instant};

use crate::scripted_task::{LONG, config, connect, many, serve_with};

/// A race is met by some of so many connections.
const CONNECTIONS: usize = 30;

/// Sends the beginning of something whose end is that of the connection, and fails.
struct Resets;

impl Task for Resets {
    type Job = NoJob;
    type Message = Infallible;

    fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, NoJob>) {
        match event {
            Event::Opened(_) => {
                io.outbox().push_bytes(b"the beginning".to_vec());
                io.receive(io.now() + LONG, false, None);
                io.set_timer(Some(io.now() + Duration::from_millis(2)));
            }
            Event::Timer => io.reset(),
            _ => io.close(),
        }
    }
}

struct ResetService;

impl Service for ResetService {
    type Task = Resets;

    fn connect(&self, _: Peer, _: Instant) -> Resets {
        Resets
    }
}

#[test]
fn a_reset_while_receiving_is_no_regular_end() {
    for &(model, topology) in ALLOWED.iter().filter(|(_, topology)| *topology == Topology::Single) {
        serve_with(config(model, topology), many(), &ResetService, |address, _, name| {
            for _ in 0..CONNECTIONS {
                let mut received = Vec::new();
                let end = connect(address).read_to_end(&mut received);
                let kind = end.map_err(|error| error.kind());
                assert_eq!(kind, Err(ErrorKind::ConnectionReset), "{name}");
            }
        });
    }
}
