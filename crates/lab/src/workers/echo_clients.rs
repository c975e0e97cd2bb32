//! Clients of the echo service: of all connections some send a message at the same time, and the
//! others stay idle.
//!
//! It writes to all active connections and then reads from each with blocking calls, so its own
//! work does not depend on the number of idle connections.
//!
//! # Limitations
//! It waits for all responses before the next round, so the server is idle while the last response
//! is in flight.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use super::command::{number, size, text};
use super::echo_service::{BLOCK, ECHO};
use super::sender::now;
use crate::error::{Error, ErrorContext as _, Result};
use crate::rng::Rng;

/// Maximum time to a response.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Connections that send at once while connecting; some models scan all descriptors for each.
const BATCH: usize = 2000;

/// Delay before the FIFO is opened again.
const POLL_INTERVAL: Duration = Duration::from_micros(200);

/// Connections, and the FIFO at which a job of the first one blocks.
#[derive(Default)]
pub(super) struct EchoClients {
    connections: Vec<UnixStream>,
    fifo: Option<OwnedFd>,
    /// Connections with a pending response.
    unanswered: Vec<usize>,
}

impl EchoClients {
    /// Opens the connections and exchanges one message on each, so that all are accepted.
    pub(super) fn connect(&mut self, command: &Value) -> Result<Value> {
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, ..limit };
        let _best_effort = setrlimit(Resource::Nofile, raised);
        *self = Self::default();
        let (to, count) = (text(command, "to")?, size(command, "count")?);
        let path = to.strip_prefix("unix:").unwrap_or(to);
        while self.connections.len() < count {
            let first = self.connections.len();
            for _ in first..count.min(first + BATCH) {
                let connection = UnixStream::connect(path).context("connect to", to)?;
                connection.set_read_timeout(Some(TIMEOUT)).context("connect to", to)?;
                self.connections.push(connection);
            }
            self.request(first..self.connections.len())?;
        }
        Ok(Value::Null)
    }

    /// Runs rounds of messages on the active connections for the given number or time, and replies
    /// with the figures.
    pub(super) fn echo(&mut self, command: &Value) -> Result<Value> {
        let count = self.connections.len();
        let active = size(command, "active")?.min(count);
        let (min, max) = (number(command, "min_rounds")?, number(command, "max_rounds")?);
        let budget = number(command, "microseconds")? * 1000;
        let mut rng = Rng::from_seed(command["seed"].as_u64().unwrap_or(1));
        let started = now();
        let mut rounds = 0;
        while rounds < min || (rounds < max && now() - started < budget) {
            let (first, stride) = (rng.below(count), count / active.max(1));
            self.request((0..active).map(|one| (first + one * stride) % count))?;
            rounds += 1;
        }
        Ok(
            json!({ "rounds": rounds, "nanoseconds": now() - started, "requests": rounds * active as u64 }),
        )
    }

    fn request(&mut self, which: impl Iterator<Item = usize> + Clone) -> Result<()> {
        for one in which.clone() {
            self.connections[one].write_all(&ECHO).context("send to", "the server")?;
        }
        for one in which {
            self.connections[one]
                .read_exact(&mut [0; ECHO.len()])
                .context("receive from", "the server")?;
        }
        Ok(())
    }

    /// Blocks a job of the first connection, waits until it has started, then sends on all other
    /// connections.
    pub(super) fn block_job(&mut self, command: &Value) -> Result<Value> {
        let fifo = text(command, "fifo")?;
        let Some(first) = self.connections.first_mut() else {
            return Err(Error::new("hold", "a job", "not connected"));
        };
        first.write_all(&BLOCK).context("send to", "the server")?;
        self.fifo = Some(open_when_read(fifo)?);
        self.unanswered = (1..self.connections.len()).collect();
        for &one in &self.unanswered {
            (&self.connections[one]).write_all(&ECHO).context("send to", "the server")?;
        }
        Ok(json!(self.unanswered.len()))
    }

    /// Replies with the number of pending responses, without waiting.
    pub(super) fn unanswered(&mut self) -> Result<Value> {
        let mut still_unanswered = Vec::new();
        for one in self.unanswered.drain(..) {
            match recv(&self.connections[one], &mut [0; ECHO.len()], RecvFlags::DONTWAIT) {
                Ok((0, _)) => {
                    return Err(Error::new(
                        "receive from",
                        "the server",
                        "the server has closed \
                    the connection",
                    ));
                }
                Ok(_) => {}
                Err(Errno::AGAIN) => still_unanswered.push(one),
                Err(errno) => return Err(Error::new("receive from", "the server", errno)),
            }
        }
        self.unanswered = still_unanswered;
        Ok(json!(self.unanswered.len()))
    }

    /// Closes the FIFO, which unblocks the job, and waits for all pending responses.
    pub(super) fn unblock_job(&mut self) -> Result<Value> {
        self.fifo = None;
        let pending = std::iter::once(0).chain(self.unanswered.drain(..));
        for one in pending {
            let mut answer = [0; ECHO.len()];
            (&self.connections[one])
                .read_exact(&mut answer)
                .context("receive from", "the server")?;
        }
        Ok(Value::Null)
    }
}

/// Opens a FIFO for writing, as soon as it has been opened for reading.
fn open_when_read(fifo: &str) -> Result<OwnedFd> {
    let started = Instant::now();
    loop {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::open(fifo, flags, Mode::empty()) {
            Err(Errno::NXIO) if started.elapsed() < TIMEOUT => thread::sleep(POLL_INTERVAL),
            opened => return opened.context("wait for the job to start at", fifo),
        }
    }
}
