//! strace(1) around the program: to see its calls, or to make them fail.

use rustix::process::{Signal, kill_process};
use std::fs;
use std::ops::Deref;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::environment;
use crate::server::Server;
use crate::ways::Way;

/// A server under strace, and where its trace goes.
pub struct Traced {
    pub server: Server,
    directory: tempfile::TempDir,
}

impl Traced {
    /// A server whose calls are recorded; `None`, with a reason printed, where strace is missing
    /// or not permitted.
    pub fn start(way: Way, root: &Path) -> Option<Self> {
        Self::start_with(&[], way, root)
    }

    /// The same with more flags for strace, such as `-e inject=…`.
    pub fn start_with(flags: &[&str], way: Way, root: &Path) -> Option<Self> {
        Self::start_serving(flags, way, root, &["--log", "off"])
    }

    /// The same with more flags for the server, too.
    pub fn start_serving(flags: &[&str], way: Way, root: &Path, serving: &[&str]) -> Option<Self> {
        if !may_trace() {
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("trace");
        let mut words = vec!["strace", "-f", "-qq", "-s", "4096", "-o", output.to_str().unwrap()];
        words.extend(flags);
        Some(Self { server: Server::start_under(&words, way, root, serving), directory })
    }

    /// Ends the server; what it said on standard error, and its calls, a line each.
    pub fn end(self) -> (String, Vec<Call>) {
        // A signal to the tracer ends the tracer; the server is its child.
        let child = self.server.children()[0];
        kill_process(child, Signal::TERM).unwrap();
        while !self.server.ends_within(Duration::from_secs(1)) {
            // The call that passes a signal on to its thread may have been made to fail as well.
            kill_process(child, Signal::TERM).unwrap();
        }
        self.ended()
    }

    /// What a server that has ended by itself said on standard error, and its calls.
    pub fn ended(self) -> (String, Vec<Call>) {
        let (status, said) = self.server.wait();
        assert!(status.success(), "{said}");
        let trace = fs::read_to_string(self.directory.path().join("trace")).unwrap();
        (said, joined(&trace))
    }
}

/// Whether there is an strace that may do its work; if not, that is said.
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

/// Runs a command that ends by itself; what it said, and its calls. `None`, with a reason printed,
/// where strace is missing or not permitted.
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

/// Which call of its name, counted from 1, is the `nth` that has all of these words.
pub fn ordinal(calls: &[Call], wanted: &str, words: &[&str], nth: usize) -> usize {
    let named = calls.iter().filter(|call| name(call) == wanted);
    let meant = named.enumerate().filter(|(_, call)| words.iter().all(|word| call.contains(word)));
    let found = meant.map(|(at, _)| at + 1).nth(nth - 1);
    found.unwrap_or_else(|| panic!("{wanted} {words:?} was not called {nth} times"))
}

/// One call, as strace writes it, and the thread that made it.
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

/// The calls of a trace; one that was interrupted by another thread's stands on two lines.
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

/// Which call it is.
pub fn name(call: &str) -> &str {
    call.split('(').next().unwrap()
}

/// The calls from the one that received `request` on.
pub fn after<'a>(calls: &'a [Call], request: &str) -> &'a [Call] {
    let is_it = |call: &Call| name(call) == "recvfrom" && call.contains(request);
    let at = calls.iter().position(is_it).unwrap_or_else(|| panic!("{request} was not received"));
    &calls[at..]
}

/// How many of these there are.
pub fn count(calls: &[Call], wanted: &str) -> usize {
    calls.iter().filter(|call| name(call) == wanted).count()
}

/// How many of these were made to fail.
pub fn injected(calls: &[Call], wanted: &str) -> usize {
    calls.iter().filter(|call| name(call) == wanted && call.contains("(INJECTED)")).count()
}

/// What a call returned.
pub fn returned(call: &str) -> i64 {
    call.rsplit(" = ").next().unwrap().split_whitespace().next().unwrap().parse().unwrap_or(0)
}
