//! One job is held, and others ask: how many are answered before it is let go.
//!
//! The job waits at a FIFO of the laboratory's, so it has begun when the other side can be opened and
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
const OTHERS: u64 = 16;

/// How long neither of the two may happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long to wait before the next look.
const PAUSE: Duration = Duration::from_micros(200);

/// What came of it, for one layout.
#[derive(Clone, Debug)]
pub struct Held {
    /// How the server waited.
    pub model: Model,
    /// How its threads were laid out.
    pub topology: Topology,
    /// How many others asked while the job was held.
    pub asked: u64,
    /// How many of them were answered while it was held; the rest was afterwards.
    pub answered: u64,
    /// The threads of the server by name, while it was held.
    pub threads: BTreeMap<String, u64>,
}

/// Holds a job of a server of this layout.
pub(super) fn hold(
    workers: &WorkerCommand,
    cores: &CoreSplit,
    model: Model,
    topology: Topology,
) -> Result<Held> {
    let place = tempfile::Builder::new().prefix("karez-lab-").tempdir();
    let place = place.context("make", "a directory")?;
    let (gate, socket) = (place.path().join("fifo"), place.path().join("socket"));
    mknodat(CWD, &gate, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).context("make", "a FIFO")?;
    let command = json!({
        "model": model.name(), "topology": topology.name(), "reactors": reactors(cores),
        "at": format!("unix:{}", socket.display()), "fifo": gate,
    });
    let mut server = ServerProcess::start(workers, cores, command)?;
    let mut clients = workers.start(0)?;
    clients.request(&json!({ "command": "pin", "cores": cores.clients }))?;
    clients.request(
        &json!({ "command": "connect-echo", "to": server.address(), "count": OTHERS + 1 }),
    )?;
    let asked = number(&clients.request(&json!({ "command": "block-job", "fifo": gate }))?);
    let unanswered = until_rest(&server, &mut clients)?;
    let threads = server.threads()?;
    clients.request(&json!({ "command": "unblock-job" }))?;
    Ok(Held { model, topology, asked, answered: asked - unanswered.min(asked), threads })
}

/// How many reactors, where there are several: one a core, but at least two.
pub(super) fn reactors(cores: &CoreSplit) -> usize {
    cores.server.len().max(2)
}

/// Waits until all are answered or the server rests; how many are not answered.
fn until_rest(server: &ServerProcess, clients: &mut Worker) -> Result<u64> {
    let begun = Instant::now();
    loop {
        // First whether it rests: what it answered before that is there.
        let rests = is_quiescent(server.pid());
        let unanswered = number(&clients.request(&json!({ "command": "unanswered" }))?);
        if rests || unanswered == 0 {
            return Ok(unanswered);
        }
        if begun.elapsed() > PATIENCE {
            return Err(Error::new("wait for", "a server", "it neither answers nor rests"));
        }
        thread::sleep(PAUSE);
    }
}

fn number(told: &Value) -> u64 {
    told.as_u64().unwrap_or(0)
}
