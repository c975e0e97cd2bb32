//! Runs the program under strace(1), to record its calls or to make them fail.

use rustix::process::{Signal, kill_process};
use std::fs;
use std::ops::Deref;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::environment;
use crate::layouts::Layout;
use crate::server::Server;

/// A server under strace, and the directory of its trace.
pub struct Traced {
    pub server: Server,
    directory: tempfile::TempDir,
}

impl Traced {
    /// Starts a server whose calls are recorded. Prints the reason and returns `None` where strace
    /// is missing or not permitted.
    pub fn start(layout: Layout, root: &Path) -> Option<Self> {
        Self::start_with(&[], layout, root)
    }

    /// Like [`Traced::start`], with more flags for strace, such as `-e inject=…`.
    pub fn start_with(flags: &[&str], layout: Layout, root: &Path) -> Option<Self> {
        Self::start_serving(flags, layout, root, &["--log", "off"])
    }

    /// Like [`Traced::start_with`], with more flags for the server, too.
    pub fn start_serving(
        flags: &[&str],
        layout: Layout,
        root: &Path,
        serving: &[&str],
    ) -> Option<Self> {
        if !may_trace() {
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("trace");
        let mut words = vec!["strace", "-f", "-qq", "-s", "4096", "-o", output.to_str().unwrap()];
        words.extend(flags);
        Some(Self { server: Server::start_under(&words, layout, root, serving), directory })
    }

    /// Stops the server. Returns its standard error and its calls, one per line.
    pub fn end(self) -> (String, Vec<Call>) {
        // A signal to the tracer would end the tracer; the server is its child.
        let child = self.server.children()[0];
        kill_process(child, Signal::TERM).unwrap();
        while !self.server.exits_within(Duration::from_secs(1)) {
            // The call that forwards a signal to its thread may have been made to fail as well.
            kill_process(child, Signal::TERM).unwrap();
        }
        self.ended()
    }

    /// Waits for a server that exits by itself. Returns its standard error and its calls.
    pub fn ended(self) -> (String, Vec<Call>) {
        let (status, printed) = self.server.wait();
        assert!(status.success(), "{printed}");
        let trace = fs::read_to_string(self.directory.path().join("trace")).unwrap();
        (printed, joined(&trace))
    }
}

/// Returns whether strace is installed and permitted; prints the skip if not.
pub fn may_trace() -> bool {
    environment::normalize();
    let mut probe = Command::new("strace");
    probe.args(["-o", "/dev/null", "true"]).stderr(Stdio::null());
    let may = probe.status().is_ok_and(|status| status.success());
    if !may {
        println!("skipped: strace is missing or may not trace");
    }
    may
}

/// Runs a command to its exit. Returns its output and its calls. Prints the reason and returns
/// `None` where strace is missing or not permitted.
pub fn run(flags: &[&str], command: &Command) -> Option<(Output, Vec<Call>)> {
    if !may_trace() {
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-s", "64", "-o"]).arg(&trace).args(flags);
    strace.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    let output = strace.output().unwrap();
    Some((output, joined(&fs::read_to_string(trace).unwrap())))
}

/// Returns the ordinal, from 1, among the calls of this name of the `nth` one that contains all of
/// these words.
pub fn ordinal(calls: &[Call], wanted: &str, words: &[&str], nth: usize) -> usize {
    let named = calls.iter().filter(|call| name(call) == wanted);
    let meant = named.enumerate().filter(|(_, call)| words.iter().all(|word| call.contains(word)));
    let found = meant.map(|(at, _)| at + 1).nth(nth - 1);
    found.unwrap_or_else(|| panic!("{wanted} {words:?} was not called {nth} times"))
}

/// One call in strace's format, and its thread.
#[derive(Debug)]
pub struct Call {
    pub thread: String,
    text: String,
}

impl Deref for Call {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

/// Parses a trace; joins calls that are split into two lines by another thread's.
fn joined(trace: &str) -> Vec<Call> {
    let mut open: Vec<(&str, String)> = Vec::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let (thread, call) = line.split_once(' ').unwrap();
        let call = call.trim_start();
        if let Some(begun) = call.strip_suffix(" <unfinished ...>") {
            open.push((thread, begun.to_owned()));
        } else if let Some((_, rest)) = call.split_once(" resumed>") {
            let place = open.iter().position(|(owner, _)| *owner == thread).unwrap();
            let text = open.remove(place).1 + rest;
            calls.push(Call { thread: thread.to_owned(), text });
        } else {
            calls.push(Call { thread: thread.to_owned(), text: call.to_owned() });
        }
    }
    calls
}

/// Returns the name of the call.
pub fn name(call: &str) -> &str {
    call.split('(').next().unwrap()
}

/// Returns the calls starting with the one that received `request`.
pub fn after<'a>(calls: &'a [Call], request: &str) -> &'a [Call] {
    let is_it = |call: &Call| name(call) == "recvfrom" && call.contains(request);
    let at = calls.iter().position(is_it).unwrap_or_else(|| panic!("{request} was not received"));
    &calls[at..]
}

/// Returns the number of calls of this name.
pub fn count(calls: &[Call], wanted: &str) -> usize {
    calls.iter().filter(|call| name(call) == wanted).count()
}

/// Returns the number of injected failures of this name.
pub fn injected(calls: &[Call], wanted: &str) -> usize {
    calls.iter().filter(|call| name(call) == wanted && call.contains("(INJECTED)")).count()
}

/// Returns the result of a call.
pub fn returned(call: &str) -> i64 {
    call.rsplit(" = ").next().unwrap().split_whitespace().next().unwrap().parse().unwrap_or(0)
}
