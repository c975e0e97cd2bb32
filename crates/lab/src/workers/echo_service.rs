//! The echo service: it returns each message, if requested after a job that blocks as long as the
//! laboratory wants.
//!
//! A message has eight bytes. The message [`BLOCK`] starts the job: it opens a FIFO (fifo(7)) for
//! reading and reads to its end. So the job has started when the FIFO can be opened for writing,
//! and ends when that side is closed.
//!
//! # Limitations
//! It assumes that a message arrives at once, which holds on a UNIX socket with one message in
//! flight.

use karez_reactor::{Event, Job, NoMail, Peer, Service, Task, Want};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Message that starts the blocking job.
pub(super) const BLOCK: [u8; 8] = *b"blockjob";

/// Message that is returned immediately.
pub(super) const ECHO: [u8; 8] = *b"echo me!";

/// Longer than any experiment.
const TIMEOUT: Duration = Duration::from_secs(600);

/// The task of a connection and its next step.
pub(super) struct EchoTask {
    want: Want<BlockingJob>,
    fifo: Arc<Path>,
}

/// A job that blocks until the FIFO is closed.
pub(super) struct BlockingJob {
    fifo: Arc<Path>,
    message: Vec<u8>,
}

impl Job for BlockingJob {
    type Done = Vec<u8>;

    fn run(self) -> Vec<u8> {
        // If the FIFO has been removed, the job does not block.
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
                let job = BlockingJob { fifo: Arc::clone(&self.fifo), message: bytes.to_vec() };
                Want::Work { job, until: now + TIMEOUT }
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

/// Creates a task for each connection.
pub(super) struct EchoService(Arc<Path>);

impl EchoService {
    /// Creates a service whose jobs block at this FIFO.
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
