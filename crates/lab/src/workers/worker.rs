//! Handle of a worker process, which sends commands and receives replies.

use karez_lab_sys::count_syscalls;
use rustix::process::Pid;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::error::{Error, ErrorContext as _, Result};
use crate::probe::{call_name, mark};

/// How to start a worker: a program and the arguments that make it call [`work`](crate::work).
#[derive(Clone, Debug)]
pub struct WorkerCommand {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl WorkerCommand {
    /// Uses `program` with `arguments`.
    #[must_use]
    pub fn new(
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self { program: program.into(), arguments }
    }

    /// Starts a worker on the core with this index.
    pub(crate) fn start(&self, core: u64) -> Result<Worker> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("start", self.program.display())?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (commands, replies) =
            pipes.ok_or_else(|| Error::new("start", "a worker", "no pipes"))?;
        let mut worker = Worker { child, commands, replies: BufReader::new(replies) };
        worker.request(&serde_json::json!({ "command": "pin", "core": core }))?;
        Ok(worker)
    }
}

/// A worker process, killed on drop.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    commands: ChildStdin,
    replies: BufReader<ChildStdout>,
}

impl Worker {
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends a command and waits for its reply.
    pub(crate) fn request(&mut self, command: &Value) -> Result<Value> {
        self.send(command)?;
        self.receive()
    }

    /// Executes a command under ptrace and returns the reply and the system calls between its marks
    /// by name.
    pub(crate) fn request_traced(
        &mut self,
        command: &Value,
    ) -> Result<(Value, BTreeMap<String, u64>)> {
        let mut sent = Ok(());
        let traced = count_syscalls(self.pid(), mark::begin_number(), mark::end_number(), || {
            sent = self.send(command);
        });
        sent?;
        let reply = self.receive()?;
        let traced = traced.context("trace", "a worker")?;
        let by_name = traced.into_iter().map(|(number, count)| (call_name(number), count));
        Ok((reply, by_name.collect()))
    }

    /// Sends a command.
    pub(crate) fn send(&mut self, command: &Value) -> Result<()> {
        writeln!(self.commands, "{command}").context("send a command to a worker", command)
    }

    /// Waits for the reply to a command.
    pub(crate) fn receive(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.replies.read_line(&mut line).context("read the reply of", "a worker")?;
        let reply: Value = serde_json::from_str(&line).unwrap_or_default();
        match (reply.get("ok"), reply["error"].as_str()) {
            (Some(done), _) => Ok(done.clone()),
            (_, Some(error)) => Err(Error::new("worker failed", "", error)),
            _ => Err(Error::new("read the reply of", "a worker", "the worker has exited")),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may be waiting for a peer that has ended.
        let _ended_already = self.child.kill();
        let _ended = self.child.wait();
    }
}
