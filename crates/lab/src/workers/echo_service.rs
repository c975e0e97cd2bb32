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

use karez_reactor::{Event, Io, Job, JobId, Mark, Peer, Service, Task};
use std::convert::Infallible;
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

/// The task of a connection.
pub(super) struct EchoTask {
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
    type Message = Infallible;

    fn handle(&mut self, event: Event<'_, Self>, io: &mut Io<'_, BlockingJob>) {
        match event {
            Event::Opened(_) => {
                io.send_timeout(TIMEOUT);
                io.receive(io.now() + TIMEOUT, true, None);
            }
            Event::Sent(_) => io.receive(io.now() + TIMEOUT, true, None),
            Event::Received(bytes, _) if bytes == BLOCK => {
                let job = BlockingJob { fifo: Arc::clone(&self.fifo), message: bytes.to_vec() };
                if io.run(JobId(0), job).is_err() {
                    io.close();
                }
            }
            Event::Received(bytes, _) => send(bytes.to_vec(), io),
            Event::JobDone(_, Ok(message)) => send(message, io),
            Event::Closing(_) => {}
            _ => io.close(),
        }
    }
}

fn send(message: Vec<u8>, io: &mut Io<'_, BlockingJob>) {
    io.outbox().push_bytes(message);
    io.notify_sent(Mark(0));
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

    fn connect(&self, _: Peer, _: Instant) -> EchoTask {
        EchoTask { fifo: Arc::clone(&self.0) }
    }
}
