//! The laboratory's own task: it says back what it hears, or has a job done first that blocks for
//! as long as the laboratory wants.
//!
//! Eight bytes are a message. What begins with [`HOLD`] wants the job: it opens a FIFO (fifo(7)) and
//! reads to its end, so it has begun when somebody can open the other side, and is done when that
//! is closed.
//!
//! What it does badly: it takes for granted that a message arrives whole, as it does on a UNIX
//! socket where one at a time is under way.

use karez_reactor::{Event, Job, NoMail, Peer, Service, Task, Want};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a client says to have a job held.
pub(super) const HOLD: [u8; 8] = *b"hold it\n";

/// What a client says to hear it back.
pub(super) const ECHO: [u8; 8] = *b"say it!\n";

/// Longer than any experiment.
const PATIENCE: Duration = Duration::from_secs(600);

/// What lives on a connection, and what it wants next.
pub(super) struct Errand {
    want: Want<Held>,
    gate: Arc<Path>,
}

/// A job that is done when the gate is opened.
pub(super) struct Held {
    gate: Arc<Path>,
    message: Vec<u8>,
}

impl Job for Held {
    type Done = Vec<u8>;

    fn run(self) -> Vec<u8> {
        // A gate that is gone holds nobody.
        let gate = File::open(&self.gate);
        let _held = gate.and_then(|mut gate| gate.read_to_end(&mut Vec::new()));
        self.message
    }
}

impl Task for Errand {
    type Job = Held;
    type Mail = NoMail;

    fn want(&mut self) -> Want<Held> {
        std::mem::replace(&mut self.want, Want::Close)
    }

    fn hear(&mut self, event: Event<'_, Vec<u8>>, now: Instant) {
        let say = |what: Vec<u8>| Want::Send { outbox: what.into(), stall: PATIENCE };
        self.want = match event {
            Event::Received(bytes) if bytes == HOLD => {
                let job = Held { gate: Arc::clone(&self.gate), message: bytes.to_vec() };
                Want::Work { job, until: now + PATIENCE }
            }
            Event::Received(bytes) => say(bytes.to_vec()),
            Event::Worked(message) => say(message),
            Event::Sent(_) => receive(now),
            _ => Want::Close,
        };
    }
}

fn receive(now: Instant) -> Want<Held> {
    Want::Receive { until: now + PATIENCE, idle: true }
}

/// Makes one for each connection.
pub(super) struct Errands(Arc<Path>);

impl Errands {
    /// Jobs wait at the FIFO of this name.
    pub(super) fn at(gate: PathBuf) -> Self {
        Self(gate.into())
    }
}

impl Service for Errands {
    type Task = Errand;

    fn connect(&self, _: Peer, now: Instant) -> Errand {
        Errand { want: receive(now), gate: Arc::clone(&self.0) }
    }
}
