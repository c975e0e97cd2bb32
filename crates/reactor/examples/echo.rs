//! Says back what it hears, on any model: `echo --model select 127.0.0.1:7777`.

use karez_reactor::{Event, NoJob, NoMail, Peer, Service, Task, Want};
use std::process::ExitCode;
use std::time::{Duration, Instant};

mod command_line;

const PATIENCE: Duration = Duration::from_secs(60);

/// What lives on a connection, and what it wants next.
pub struct Echo(Want<NoJob>);

impl Task for Echo {
    type Job = NoJob;
    type Mail = NoMail;

    fn want(&mut self) -> Want<NoJob> {
        std::mem::replace(&mut self.0, Want::Close)
    }

    fn hear(&mut self, event: Event<'_, NoJob>, now: Instant) {
        self.0 = match event {
            Event::Received(bytes) => Want::Send { outbox: bytes.to_vec().into(), stall: PATIENCE },
            Event::Sent(_) => Want::Receive { until: now + PATIENCE, idle: true },
            _ => Want::Close,
        };
    }
}

/// Makes one for each connection.
pub struct Echoes;

impl Service for Echoes {
    type Task = Echo;

    fn connect(&self, _: Peer, now: Instant) -> Echo {
        Echo(Want::Receive { until: now + PATIENCE, idle: true })
    }
}

fn main() -> ExitCode {
    command_line::serve(|rest| rest.is_empty().then_some(Echoes), "LISTEN")
}
