//! Handle of a server worker, and the assignment of cores to server and clients.

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity};
use serde_json::{Value, json};
use std::collections::BTreeMap;

use super::worker::{Worker, WorkerCommand};
use crate::error::{Error, ErrorContext as _, Result};

/// The cores of the server and of its clients.
#[derive(Clone, Debug)]
pub(crate) struct CoreSplit {
    pub(crate) server: Vec<usize>,
    pub(crate) clients: Vec<usize>,
}

impl CoreSplit {
    /// Assigns the last allowed core to the clients and the others to the server; a single core is
    /// shared.
    pub(crate) fn of_allowed() -> Result<Self> {
        let allowed = sched_getaffinity(None).context("get", "the CPU affinity")?;
        let all: Vec<_> = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect();
        let (server, clients) = all.split_at(all.len().saturating_sub(1).max(1).min(all.len()));
        let clients = if clients.is_empty() { server } else { clients };
        Ok(Self { server: server.to_vec(), clients: clients.to_vec() })
    }
}

/// Resource usage of the server's threads.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ServerUsage {
    /// Nanoseconds of CPU time.
    pub(crate) cpu: u64,
    /// Context switches because a thread blocked.
    pub(crate) voluntary: u64,
    /// Context switches because a thread was preempted.
    pub(crate) involuntary: u64,
}

impl ServerUsage {
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            voluntary: self.voluntary.saturating_sub(before.voluntary),
            involuntary: self.involuntary.saturating_sub(before.involuntary),
        }
    }
}

/// A server process, killed on drop.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    worker: Worker,
    address: String,
}

impl ServerProcess {
    /// Starts a server on its cores.
    pub(crate) fn start(
        workers: &WorkerCommand,
        cores: &CoreSplit,
        mut command: Value,
    ) -> Result<Self> {
        let mut worker = workers.start(0)?;
        worker.request(&json!({ "command": "pin", "cores": cores.server }))?;
        command["command"] = json!("serve");
        let address = worker.request(&command)?;
        let address = address
            .as_str()
            .ok_or_else(|| Error::new("start", "a server", "it is not listening"))?;
        Ok(Self { address: address.to_owned(), worker })
    }

    /// Returns its address.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn pid(&self) -> Pid {
        self.worker.pid()
    }

    pub(crate) fn request(&mut self, command: &Value) -> Result<Value> {
        self.worker.request(command)
    }

    pub(crate) fn usage(&mut self) -> Result<ServerUsage> {
        let reply = self.worker.request(&json!({ "command": "usage" }))?;
        let number = |name: &str| reply[name].as_u64().unwrap_or(0);
        Ok(ServerUsage {
            cpu: number("cpu"),
            voluntary: number("voluntary"),
            involuntary: number("involuntary"),
        })
    }

    /// Returns the number of its threads by name.
    pub(crate) fn threads(&mut self) -> Result<BTreeMap<String, u64>> {
        let reply = self.worker.request(&json!({ "command": "threads" }))?;
        let by_name = reply.as_object().into_iter().flatten();
        Ok(by_name.filter_map(|(name, count)| Some((name.clone(), count.as_u64()?))).collect())
    }

    /// Stops the process until it is [resumed](Self::resume).
    pub(crate) fn pause(&self) -> Result<()> {
        kill_process(self.pid(), Signal::STOP).context("stop", "a server")
    }

    pub(crate) fn resume(&self) -> Result<()> {
        kill_process(self.pid(), Signal::CONT).context("continue", "a server")
    }

    /// Kills the process.
    pub(crate) fn kill(&self) {
        let _ended_already = kill_process(self.pid(), Signal::KILL);
    }
}
