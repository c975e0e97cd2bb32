//! A worker that serves, as its employer sees it, and the cores that it and its clients have.

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity};
use serde_json::{Value, json};
use std::collections::BTreeMap;

use super::worker::{Worker, WorkerCommand};
use crate::error::{Error, ErrorContext as _, Result};

/// Which cores the server has, and which its clients.
#[derive(Clone, Debug)]
pub(crate) struct CoreSplit {
    pub(crate) server: Vec<usize>,
    pub(crate) clients: Vec<usize>,
}

impl CoreSplit {
    /// The last for the clients, the others for the server; one for both where there is only one.
    pub(crate) fn of_allowed() -> Result<Self> {
        let allowed = sched_getaffinity(None).context("ask for", "cores")?;
        let all: Vec<_> = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect();
        let (server, clients) = all.split_at(all.len().saturating_sub(1).max(1).min(all.len()));
        let clients = if clients.is_empty() { server } else { clients };
        Ok(Self { server: server.to_vec(), clients: clients.to_vec() })
    }
}

/// What the threads that serve have used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ServerUsage {
    /// Nanoseconds of CPU.
    pub(crate) cpu: u64,
    /// Context switches because a thread waited.
    pub(crate) voluntary: u64,
    /// Context switches because its time was over or another was more urgent.
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

/// A server; it is ended when this is dropped.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    worker: Worker,
    address: String,
}

impl ServerProcess {
    /// Starts one as the command says, on its cores.
    pub(crate) fn start(
        workers: &WorkerCommand,
        cores: &CoreSplit,
        mut command: Value,
    ) -> Result<Self> {
        let mut worker = workers.start(0)?;
        worker.request(&json!({ "command": "pin", "cores": cores.server }))?;
        command["command"] = json!("serve");
        let address = worker.request(&command)?;
        let address =
            address.as_str().ok_or_else(|| Error::new("start", "a server", "it is nowhere"))?;
        Ok(Self { address: address.to_owned(), worker })
    }

    /// Where it listens.
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

    /// Its threads by name.
    pub(crate) fn threads(&mut self) -> Result<BTreeMap<String, u64>> {
        let reply = self.worker.request(&json!({ "command": "threads" }))?;
        let by_name = reply.as_object().into_iter().flatten();
        Ok(by_name.filter_map(|(name, count)| Some((name.clone(), count.as_u64()?))).collect())
    }

    /// From now on it uses no core, until it is [woken](Self::resume).
    pub(crate) fn pause(&self) -> Result<()> {
        kill_process(self.pid(), Signal::STOP).context("stop", "a server")
    }

    pub(crate) fn resume(&self) -> Result<()> {
        kill_process(self.pid(), Signal::CONT).context("continue", "a server")
    }

    /// Ends it at once.
    pub(crate) fn kill(&self) {
        let _ended_already = kill_process(self.pid(), Signal::KILL);
    }
}
