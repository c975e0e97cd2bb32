//! A worker as its employer sees it: orders go in, answers come out.

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
pub struct Workers {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Workers {
    /// Workers are `program` with `arguments`.
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
        let (orders, answers) = pipes.ok_or_else(|| Error::new("start", "a worker", "no pipes"))?;
        let mut worker = Worker { child, orders, answers: BufReader::new(answers) };
        worker.ask(&serde_json::json!({ "do": "pin", "core": core }))?;
        Ok(worker)
    }
}

/// A worker; it is ended when this is dropped.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Gives an order and waits until it is done.
    pub(crate) fn ask(&mut self, order: &Value) -> Result<Value> {
        self.tell(order)?;
        self.hear()
    }

    /// Gives an order under ptrace: the answer, and how often it made which system call between its
    /// marks.
    pub(crate) fn traced(&mut self, order: &Value) -> Result<(Value, BTreeMap<String, u64>)> {
        let mut told = Ok(());
        let traced = count_syscalls(self.pid(), mark::begin_number(), mark::end_number(), || {
            told = self.tell(order);
        });
        told?;
        let answer = self.hear()?;
        let traced = traced.context("trace", "a worker")?;
        let by_name = traced.into_iter().map(|(number, count)| (call_name(number), count));
        Ok((answer, by_name.collect()))
    }

    /// Gives an order.
    pub(crate) fn tell(&mut self, order: &Value) -> Result<()> {
        writeln!(self.orders, "{order}").context("tell a worker", order)
    }

    /// Waits for what came of an order.
    pub(crate) fn hear(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.answers.read_line(&mut line).context("hear", "a worker")?;
        let answer: Value = serde_json::from_str(&line).unwrap_or_default();
        match (answer.get("ok"), answer["error"].as_str()) {
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
