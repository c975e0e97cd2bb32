//! The laboratory's own task: it says back what it hears, or has a job done first that blocks for
//! as long as the laboratory wants.
//!
//! Eight bytes are a message. What begins with [`BLOCK`] wants the job: it opens a FIFO (fifo(7)) and
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
pub(super) const BLOCK: [u8; 8] = *b"blockjob";

/// What a client says to hear it back.
pub(super) const ECHO: [u8; 8] = *b"echo me!";

/// Longer than any experiment.
const TIMEOUT: Duration = Duration::from_secs(600);

/// What lives on a connection, and what it wants next.
pub(super) struct EchoTask {
    want: Want<BlockingJob>,
    fifo: Arc<Path>,
}

/// A job that is done when the fifo is opened.
pub(super) struct BlockingJob {
    fifo: Arc<Path>,
    message: Vec<u8>,
}

impl Job for BlockingJob {
    type Done = Vec<u8>;

    fn run(self) -> Vec<u8> {
        // A fifo that is gone holds nobody.
        let fifo = File::open(&self.fifo);
        let _closed = fifo.and_then(|mut fifo| fifo.read_to_end(&mut Vec::new()));
        self.message
    }
}

impl Task for EchoTask {
    type Job = BlockingJob;
    type Mail = NoMail;

    fn want(&mut self) -> Want<BlockingJob> {
        std::mem::replace(&mut self.want, Want::Close)
    }

    fn hear(&mut self, event: Event<'_, Vec<u8>>, now: Instant) {
        let send = |bytes: Vec<u8>| Want::Send { outbox: bytes.into(), stall: TIMEOUT };
        self.want = match event {
            Event::Received(bytes) if bytes == BLOCK => {
                Want::Work(BlockingJob { fifo: Arc::clone(&self.fifo), message: bytes.to_vec() })
            }
            Event::Received(bytes) => send(bytes.to_vec()),
            Event::Worked(message) => send(message),
            Event::Sent(_) => receive(now),
            _ => Want::Close,
        };
    }
}

fn receive(now: Instant) -> Want<BlockingJob> {
    Want::Receive { until: now + TIMEOUT, idle: true }
}

/// Makes one for each connection.
pub(super) struct EchoService(Arc<Path>);

impl EchoService {
    /// Jobs wait at the FIFO of this name.
    pub(super) fn new(fifo: PathBuf) -> Self {
        Self(fifo.into())
    }
}

impl Service for EchoService {
    type Task = EchoTask;

    fn connect(&self, _: Peer, now: Instant) -> EchoTask {
        EchoTask { want: receive(now), fifo: Arc::clone(&self.0) }
    }
}
