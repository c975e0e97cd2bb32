//! The worker that is many clients of the laboratory's own task: of so many connections some ask at
//! the same time, and the others rest.
//!
//! It writes to all that are to ask, then reads from each in turn with calls that block: what it does
//! itself does not depend on how many rest.
//!
//! What it does badly: it waits for all before it asks again, so a server is idle while the last
//! answer is on its way.

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

use super::errand::{ECHO, HOLD};
use super::order::{number, size, text};
use super::sender::now;
use crate::error::{Error, ErrorContext as _, Result};
use crate::rng::Rng;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many ask at once while they gather: who walks over all for each has to be spared.
const PART: usize = 2000;

/// How long to wait before a gate is tried again.
const PAUSE: Duration = Duration::from_micros(200);

/// Connections, and the gate at which a job of the first is held.
#[derive(Default)]
pub(super) struct Crowd {
    peers: Vec<UnixStream>,
    gate: Option<OwnedFd>,
    /// Who has asked and was not answered.
    unanswered: Vec<usize>,
}

impl Crowd {
    /// Connects so many, and has one answer on each, so that all have been let in.
    pub(super) fn gather(&mut self, order: &Value) -> Result<Value> {
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, ..limit };
        let _as_many_as_may_be = setrlimit(Resource::Nofile, raised);
        *self = Self::default();
        let (to, count) = (text(order, "to")?, size(order, "count")?);
        let path = to.strip_prefix("unix:").unwrap_or(to);
        while self.peers.len() < count {
            let first = self.peers.len();
            for _ in first..count.min(first + PART) {
                let peer = UnixStream::connect(path).context("connect to", to)?;
                peer.set_read_timeout(Some(PATIENCE)).context("connect to", to)?;
                self.peers.push(peer);
            }
            self.ask(first..self.peers.len())?;
        }
        Ok(Value::Null)
    }

    /// Some ask and are answered, so many laps or so long; what it took.
    pub(super) fn round(&mut self, order: &Value) -> Result<Value> {
        let count = self.peers.len();
        let active = size(order, "active")?.min(count);
        let (least, most) = (number(order, "least")?, number(order, "most")?);
        let enough = number(order, "microseconds")? * 1000;
        let mut rng = Rng::from_seed(order["seed"].as_u64().unwrap_or(1));
        let begun = now();
        let mut laps = 0;
        while laps < least || (laps < most && now() - begun < enough) {
            let (first, apart) = (rng.below(count), count / active.max(1));
            self.ask((0..active).map(|one| (first + one * apart) % count))?;
            laps += 1;
        }
        Ok(json!({ "laps": laps, "nanoseconds": now() - begun, "requests": laps * active as u64 }))
    }

    fn ask(&mut self, who: impl Iterator<Item = usize> + Clone) -> Result<()> {
        for one in who.clone() {
            self.peers[one].write_all(&ECHO).context("ask", "the server")?;
        }
        for one in who {
            self.peers[one].read_exact(&mut [0; ECHO.len()]).context("hear", "the server")?;
        }
        Ok(())
    }

    /// Has a job of the first held, waits until it has begun, then has all others ask.
    pub(super) fn hold(&mut self, order: &Value) -> Result<Value> {
        let gate = text(order, "gate")?;
        let Some(first) = self.peers.first_mut() else {
            return Err(Error::new("hold", "a job", "nobody is connected"));
        };
        first.write_all(&HOLD).context("ask", "the server")?;
        self.gate = Some(when_begun(gate)?);
        self.unanswered = (1..self.peers.len()).collect();
        for &one in &self.unanswered {
            (&self.peers[one]).write_all(&ECHO).context("ask", "the server")?;
        }
        Ok(json!(self.unanswered.len()))
    }

    /// How many wait for their answer still. It waits for nobody.
    pub(super) fn unanswered(&mut self) -> Result<Value> {
        let mut left = Vec::new();
        for one in self.unanswered.drain(..) {
            match recv(&self.peers[one], &mut [0; ECHO.len()], RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err(Error::new("hear", "the server", "it has closed")),
                Ok(_) => {}
                Err(Errno::AGAIN) => left.push(one),
                Err(errno) => return Err(Error::new("hear", "the server", errno)),
            }
        }
        self.unanswered = left;
        Ok(json!(self.unanswered.len()))
    }

    /// Opens the gate, and waits for every answer that is due.
    pub(super) fn release(&mut self) -> Result<Value> {
        self.gate = None;
        let due = std::iter::once(0).chain(self.unanswered.drain(..));
        for one in due {
            let mut answer = [0; ECHO.len()];
            (&self.peers[one]).read_exact(&mut answer).context("hear", "the server")?;
        }
        Ok(Value::Null)
    }
}

/// The writing side of a FIFO, once somebody has opened the other.
fn when_begun(gate: &str) -> Result<OwnedFd> {
    let begun = Instant::now();
    loop {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::open(gate, flags, Mode::empty()) {
            Err(Errno::NXIO) if begun.elapsed() < PATIENCE => thread::sleep(PAUSE),
            opened => return opened.context("see a job begin at", gate),
        }
    }
}
