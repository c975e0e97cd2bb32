//! A server process of one model with the echo service, and a client process that is connected to it.
//!
//! Connections are UNIX sockets, so data arrives immediately and no network is measured. The server has
//! topology `single`, with one event loop.
//!
//! # Limitations
//! Requests have eight bytes. What is counted includes the calls after the last response.

use karez_lab_sys::count_thread_syscalls;
use karez_reactor::Model;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::mpsc::channel;
use std::thread;
use tempfile::TempDir;

use crate::error::{Error, ErrorContext as _, Result};
use crate::probe::{call_name, mark};
use crate::quiescence::wait_until_quiescent;
use crate::workers::{CoreSplit, ServerProcess, Worker, WorkerCommand};

/// Counted rounds. Calls after the last round are distributed over all of them.
const COUNTED_ROUNDS: u64 = 8;

/// Counted rounds of a busy-polling model, which makes thousands of calls in each.
const COUNTED_ROUNDS_NEVER_SLEEPING: u64 = 1;

/// A server and its clients.
pub(crate) struct EchoSetup {
    pub(crate) server: ServerProcess,
    pub(crate) clients: Worker,
    /// Whether the server polls without sleeping.
    pub(crate) never_sleeps: bool,
    _directory: TempDir,
}

impl EchoSetup {
    /// Starts a server and a client, without connections.
    pub(crate) fn start(workers: &WorkerCommand, cores: &CoreSplit, model: Model) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("karez-lab-").tempdir();
        let directory = directory.context("make", "a directory")?;
        let at = format!("unix:{}", directory.path().join("socket").display());
        let command = json!({
            "model": model.name(), "topology": "single", "reactors": 1, "at": at,
            "fifo": directory.path().join("fifo"),
        });
        let server = ServerProcess::start(workers, cores, command)?;
        let mut clients = workers.start(0)?;
        clients.request(&json!({ "command": "pin", "cores": cores.clients }))?;
        let never_sleeps = model == Model::Nonblocking;
        Ok(Self { server, clients, never_sleeps, _directory: directory })
    }

    /// Opens the connections, each with one exchange.
    pub(crate) fn connect(&mut self, connections: u32) -> Result<()> {
        let to = self.server.address();
        let command = json!({ "command": "connect-echo", "to": to, "count": connections });
        self.clients.request(&command).map(drop)
    }

    /// Counts the system calls of all threads of the server per request, under ptrace.
    pub(crate) fn count_calls(&mut self, active: u32) -> Result<BTreeMap<String, f64>> {
        let (pid, (attached, is_attached)) = (self.server.pid(), channel());
        let marks = (mark::begin_number(), mark::end_number());
        let (requested, traced) = thread::scope(|scope| {
            let reply = move || {
                let _receiver_waits = attached.send(());
            };
            let tracer = scope.spawn(move || count_thread_syscalls(pid, marks.0, marks.1, reply));
            // If it fails, the tracer returns the reason.
            let requested = is_attached.recv().map_or(Ok(0), |()| self.marked_requests(active));
            if requested.is_err() {
                // The tracer waits for an end mark that will not come.
                self.server.kill();
            }
            (requested, tracer.join())
        });
        let traced = traced.map_err(|_| Error::new("trace", "a server", "the tracer panicked"))?;
        let requests = requested?;
        let by_number = traced.context("trace", "a server")?.into_iter();
        Ok(by_number.map(|(number, made)| (call_name(number), ratio(made, requests))).collect())
    }

    /// Makes some rounds of requests between the marks, starting and ending in a quiescent state, and
    /// returns the number of requests.
    pub(crate) fn marked_requests(&mut self, active: u32) -> Result<u64> {
        self.wait_until_quiescent()?;
        self.server.request(&json!({ "command": "mark", "edge": "begin" }))?;
        let rounds = if self.never_sleeps { COUNTED_ROUNDS_NEVER_SLEEPING } else { COUNTED_ROUNDS };
        let reply = self.clients.request(&echo_command(active, rounds, rounds, 0, 1))?;
        self.wait_until_quiescent()?;
        self.server.request(&json!({ "command": "mark", "edge": "end" }))?;
        Ok(reply["requests"].as_u64().unwrap_or(0))
    }

    /// Waits until all threads of the server sleep; one that never does is not waited for.
    pub(crate) fn wait_until_quiescent(&self) -> Result<()> {
        if self.never_sleeps { Ok(()) } else { wait_until_quiescent(self.server.pid()) }
    }
}

/// Returns the command that makes rounds of requests on the active connections.
pub(super) fn echo_command(active: u32, min: u64, max: u64, microseconds: u64, seed: u64) -> Value {
    json!({
        "command": "echo", "active": active, "min_rounds": min, "max_rounds": max,
        "microseconds": microseconds, "seed": seed,
    })
}

#[allow(clippy::cast_precision_loss, reason = "counts and times of an experiment")]
pub(super) fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}
