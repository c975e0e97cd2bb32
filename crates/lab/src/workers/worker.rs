//! A worker as its employer sees it: commands go in, replies come out.

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
    /// WorkerCommand are `program` with `arguments`.
    #[must_use]
    pub fn new(
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self { program: program.into(), arguments }
    }

    /// Starts one, and pins it to the core with this number.
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

/// A worker; it is ended when this is dropped.
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

    /// Gives an command and waits until it is done.
    pub(crate) fn request(&mut self, command: &Value) -> Result<Value> {
        self.send(command)?;
        self.receive()
    }

    /// Gives an command under ptrace: the reply, and how often it made which system call between its
    /// marks.
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

    /// Gives an command.
    pub(crate) fn send(&mut self, command: &Value) -> Result<()> {
        writeln!(self.commands, "{command}").context("tell a worker", command)
    }

    /// Waits for what came of an command.
    pub(crate) fn receive(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.replies.read_line(&mut line).context("hear", "a worker")?;
        let reply: Value = serde_json::from_str(&line).unwrap_or_default();
        match (reply.get("ok"), reply["error"].as_str()) {
            (Some(done), _) => Ok(done.clone()),
            (_, Some(error)) => Err(Error::new("a worker could not", "", error)),
            _ => Err(Error::new("hear", "a worker", "it has ended")),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may wait for a peer that is gone.
        let _ended_already = self.child.kill();
        let _ended = self.child.wait();
    }
}
