//! The blocked job: counts the responses to other connections while a job blocks.
//!
//! The job blocks on a FIFO, so it has started when the FIFO can be opened for writing, and lasts
//! until that is closed. All other connections send an echo request. Then either all get their
//! responses, or the server becomes quiescent (`quiescence.rs`) with pending requests: all its
//! threads sleep until the job is unblocked. Both are events, so nothing is timed.
//!
//! # Limitations
//! A single job blocks; as many jobs as worker threads would stall the next one.

use karez_reactor::{Model, Topology};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorContext as _, Result};
use crate::quiescence::is_quiescent;
use crate::workers::{CoreSplit, ServerProcess, Worker, WorkerCommand};

/// Number of the other connections.
const OTHER_CONNECTIONS: u64 = 16;

/// Maximum time until one of the two events.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Delay before the next inspection.
const POLL_INTERVAL: Duration = Duration::from_micros(200);

/// Result for one layout.
#[derive(Clone, Debug)]
pub struct BlockedJob {
    /// The server's I/O model.
    pub model: Model,
    /// The topology.
    pub topology: Topology,
    /// Requests on other connections while the job blocked.
    pub requests: u64,
    /// Responses to them while the job blocked; the others followed afterwards.
    pub responses: u64,
    /// Number of the server's threads by name, while the job blocked.
    pub threads: BTreeMap<String, u64>,
}

/// Blocks a job of a server with this layout.
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

/// Returns the number of reactors of multi-reactor topologies: one per core, at least two.
pub(super) fn reactors(cores: &CoreSplit) -> usize {
    cores.server.len().max(2)
}

/// Waits until all responses have arrived or the server is quiescent, and returns the number of
/// pending responses.
fn unanswered_when_quiescent(server: &ServerProcess, clients: &mut Worker) -> Result<u64> {
    let started = Instant::now();
    loop {
        // Quiescence first: responses sent before it have arrived.
        let quiescent = is_quiescent(server.pid());
        let unanswered = number(&clients.request(&json!({ "command": "unanswered" }))?);
        if quiescent || unanswered == 0 {
            return Ok(unanswered);
        }
        if started.elapsed() > TIMEOUT {
            return Err(Error::new(
                "wait for",
                "a server",
                "the server neither responds nor becomes \
                idle",
            ));
        }
        thread::sleep(POLL_INTERVAL);
    }
}

fn number(reply: &Value) -> u64 {
    reply.as_u64().unwrap_or(0)
}
