//! A server under test: the built binary, started on a port of its own and ended with its value.

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::environment;
use crate::patience::{PATIENCE, Patient, is_readable};
use crate::ways::Way;

/// The program under test.
pub const KAREZ: &str = env!("CARGO_BIN_EXE_karez");

/// A running server.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// What it said first.
    pub said: String,
    /// What it says on standard error after its first line.
    pub stderr: BufReader<Patient<ChildStderr>>,
    pub stdout: Option<ChildStdout>,
}

impl Server {
    /// Serves `root` in this way on a free port of 127.0.0.1, without an access log.
    pub fn start(way: Way, root: &Path) -> Self {
        Self::start_with(way, root, &["--log", "off"])
    }

    /// The same with more flags. Waits until it says where it listens.
    pub fn start_with(way: Way, root: &Path, flags: &[&str]) -> Self {
        Self::start_under(&[] as &[&str], way, root, flags)
    }

    /// The same behind a command that runs another, such as strace.
    pub fn start_under(
        prefix: &[impl AsRef<OsStr>],
        way: Way,
        root: &Path,
        flags: &[&str],
    ) -> Self {
        println!("serving by {way}"); // the last one shown is the one that failed
        let words = prefix.iter().map(AsRef::as_ref).chain([OsStr::new(KAREZ)]);
        let words: Vec<_> = words.collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg("serve").arg(root).args(way.flags());
        command.args(["--listen", "127.0.0.1:0"]).args(flags);
        Self::spawn(command)
    }

    /// Runs a command that starts the program, and waits until it says where it listens.
    pub fn spawn(mut command: Command) -> Self {
        environment::normalize();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut stderr = BufReader::new(Patient(child.stderr.take().unwrap()));
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        let url = line.split("http://").nth(1).unwrap_or_else(|| panic!("no URL in {line:?}"));
        let address = url.split('/').next().unwrap().parse().unwrap();
        let stdout = child.stdout.take();
        Self { child, address, said: line, stderr, stdout }
    }

    /// A new connection.
    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// One request on a connection of its own.
    pub fn get(&self, target: &str) -> crate::client::Response {
        self.connect().get(target)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.process(), signal).unwrap();
    }

    pub fn process(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap()).unwrap()
    }

    /// Whether it ends within this time.
    pub fn ends_within(&self, time: Duration) -> bool {
        let process = pidfd_open(self.process(), PidfdFlags::empty()).unwrap();
        is_readable(&process, time)
    }

    /// Looks again and again until the condition holds. The server has to live meanwhile.
    pub fn until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(start.elapsed() < PATIENCE, "never: {what}");
            assert!(!self.ends_within(Duration::from_millis(5)), "it ended before: {what}");
        }
    }

    /// Its open descriptors and what each stands for, as proc(5) writes it.
    pub fn descriptors(&self) -> BTreeMap<u64, String> {
        let directory = format!("/proc/{}/fd", self.pid());
        let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
        let described = entries.filter_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            // It may have been closed since.
            let target = fs::read_link(entry.path()).ok()?;
            Some((number, target.to_string_lossy().into_owned()))
        });
        described.collect()
    }

    /// The processes it has started: the server itself, where it runs behind another program.
    pub fn children(&self) -> Vec<Pid> {
        let path = format!("/proc/{0}/task/{0}/children", self.pid());
        let list = fs::read_to_string(path).unwrap_or_default();
        list.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
    }

    /// Waits for its end. What it still said on standard error comes with it.
    pub fn wait(mut self) -> (ExitStatus, String) {
        assert!(self.ends_within(PATIENCE), "it does not end");
        let status = self.child.wait().unwrap();
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).unwrap();
        (status, rest)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Behind strace the server is a child, which would live on.
        for child in self.children() {
            let _gone = kill_process(child, Signal::KILL);
        }
        // Gone already, if the test has ended it.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
        if thread::panicking() {
            // Why it did not do what it was to do, such as the report of a sanitizer.
            let mut said = String::new();
            let _whole = self.stderr.read_to_string(&mut said);
            println!("it said: {said}");
        }
    }
}
