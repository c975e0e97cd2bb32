//! One job is held, and others ask: how many are answered before it is let go.
//!
//! The job waits at a FIFO of the laboratory's, so it has started when the other side can be opened and
//! lasts until that is closed. The others are asked for an echo each. Then either all of them are
//! answered, or the server comes to rest (`rest.rs`) with some that are not: all its threads sleep,
//! although there is something to do, until the job is let go. Both are events: nothing is timed.
//!
//! What it does badly: one job is held; with as many as there are workers, the next would wait.

use karez_reactor::{Model, Topology};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorContext as _, Result};
use crate::quiescence::is_quiescent;
use crate::workers::{CoreSplit, ServerProcess, Worker, WorkerCommand};

/// How many ask meanwhile.
const OTHER_CONNECTIONS: u64 = 16;

/// How long neither of the two may happen.
const TIMEOUT: Duration = Duration::from_secs(20);

/// How long to wait before the next look.
const POLL_INTERVAL: Duration = Duration::from_micros(200);

/// What came of it, for one layout.
#[derive(Clone, Debug)]
pub struct BlockedJob {
    /// How the server waited.
    pub model: Model,
    /// How its threads were laid out.
    pub topology: Topology,
    /// How many others asked while the job was held.
    pub requests: u64,
    /// How many of them were answered while it was held; the rest was afterwards.
    pub responses: u64,
    /// The threads of the server by name, while it was held.
    pub threads: BTreeMap<String, u64>,
}

/// Holds a job of a server of this layout.
pub(super) fn block_job(
    workers: &WorkerCommand,
    cores: &CoreSplit,
    model: Model,
    topology: Topology,
) -> Result<BlockedJob> {
    let directory = tempfile::Builder::new().prefix("karez-lab-").tempdir();
    let directory = directory.context("make", "a directory")?;
    let (fifo, socket) = (directory.path().join("fifo"), directory.path().join("socket"));
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).context("make", "a FIFO")?;
    let command = json!({
        "model": model.name(), "topology": topology.name(), "reactors": reactors(cores),
        "at": format!("unix:{}", socket.display()), "fifo": fifo,
    });
    let mut server = ServerProcess::start(workers, cores, command)?;
    let mut clients = workers.start(0)?;
    clients.request(&json!({ "command": "pin", "cores": cores.clients }))?;
    clients.request(
        &json!({ "command": "connect-echo", "to": server.address(), "count": OTHER_CONNECTIONS + 1 }),
    )?;
    let requests = number(&clients.request(&json!({ "command": "block-job", "fifo": fifo }))?);
    let unanswered = unanswered_when_quiescent(&server, &mut clients)?;
    let threads = server.threads()?;
    clients.request(&json!({ "command": "unblock-job" }))?;
    Ok(BlockedJob {
        model,
        topology,
        requests,
        responses: requests - unanswered.min(requests),
        threads,
    })
}

/// How many reactors, where there are several: one a core, but at least two.
pub(super) fn reactors(cores: &CoreSplit) -> usize {
    cores.server.len().max(2)
}

/// Waits until all are answered or the server quiescent; how many are not answered.
fn unanswered_when_quiescent(server: &ServerProcess, clients: &mut Worker) -> Result<u64> {
    let started = Instant::now();
    loop {
        // First whether it quiescent: what it answered before that is there.
        let quiescent = is_quiescent(server.pid());
        let unanswered = number(&clients.request(&json!({ "command": "unanswered" }))?);
        if quiescent || unanswered == 0 {
            return Ok(unanswered);
        }
        if started.elapsed() > TIMEOUT {
            return Err(Error::new("wait for", "a server", "it neither answers nor quiescent"));
        }
        thread::sleep(POLL_INTERVAL);
    }
}

fn number(reply: &Value) -> u64 {
    reply.as_u64().unwrap_or(0)
}
