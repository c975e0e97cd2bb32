//! Sends back what it receives, on any model: `echo --model select 127.0.0.1:7777`.

use karez_reactor::{Event, Io, Mark, NoJob, Peer, Service, Task};
use std::convert::Infallible;
use std::process::ExitCode;
use std::time::{Duration, Instant};

mod command_line;

const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// The protocol of one connection.
pub struct Echo;

impl Task for Echo {
    type Job = NoJob;
    type Message = Infallible;

    fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, NoJob>) {
        match event {
            Event::Opened(_) | Event::Sent(_) => io.receive(io.now() + IDLE_TIMEOUT, true, None),
            Event::Received(bytes, _) => {
                io.outbox().push_bytes(bytes.to_vec());
                io.notify_sent(Mark(0));
            }
            _ => io.close(),
        }
    }
}

/// Makes the task of each connection.
pub struct Echoes;

impl Service for Echoes {
    type Task = Echo;

    fn connect(&self, _: Peer, _: Instant) -> Echo {
        Echo
    }
}

fn main() -> ExitCode {
    command_line::serve(|rest| rest.is_empty().then_some(Echoes), "LISTEN")
}
