//! A server under test: the built binary, started on a free port and killed when dropped.

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
use crate::layouts::Layout;
use crate::timeouts::{TEST_TIMEOUT, TimedReader, is_readable};

/// The program under test.
pub const KAREZ: &str = env!("CARGO_BIN_EXE_karez");

/// A running server.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// The first line on standard error.
    pub first_line: String,
    /// Standard error after its first line.
    pub stderr: BufReader<TimedReader<ChildStderr>>,
    pub stdout: Option<ChildStdout>,
}

impl Server {
    /// Starts a server for `root` in this layout on a free port of 127.0.0.1, without an access
    /// log.
    pub fn start(layout: Layout, root: &Path) -> Self {
        Self::start_with(layout, root, &["--log", "off"])
    }

    /// Like [`Server::start`], with more flags. Waits for the first line, which has the address.
    pub fn start_with(layout: Layout, root: &Path, flags: &[&str]) -> Self {
        Self::start_under(&[] as &[&str], layout, root, flags)
    }

    /// Like [`Server::start_with`], under a command that runs another, such as strace.
    pub fn start_under(
        prefix: &[impl AsRef<OsStr>],
        layout: Layout,
        root: &Path,
        flags: &[&str],
    ) -> Self {
        println!("serving with {layout}"); // the last one shown is the one that failed
        let words = prefix.iter().map(AsRef::as_ref).chain([OsStr::new(KAREZ)]);
        let words: Vec<_> = words.collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg("serve").arg(root).args(layout.flags());
        command.args(["--listen", "127.0.0.1:0"]).args(flags);
        // A confined process cannot pass through the root of another one, where tests mount; and a call that
        // strace makes fail may be denied by a filter of system calls instead.
        let injects = words.iter().any(|word| word.to_string_lossy().starts_with("inject="));
        if root.starts_with("/proc") || injects {
            command.args(["--sandbox", "off"]);
        }
        Self::spawn(command)
    }

    /// Runs a command that starts the program, and waits for the first line.
    pub fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::null());
        Self::spawn_with_input(command)
    }

    /// Like [`Server::spawn`], with the standard input that the command has.
    pub fn spawn_with_input(mut command: Command) -> Self {
        environment::normalize();
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut stderr = BufReader::new(TimedReader(child.stderr.take().unwrap()));
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        let url = line.split("://").nth(1).unwrap_or_else(|| panic!("no URL in {line:?}"));
        let address = url.split('/').next().unwrap().parse().unwrap();
        let stdout = child.stdout.take();
        Self { child, address, first_line: line, stderr, stdout }
    }

    /// Opens a connection.
    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// Sends one GET on a new connection.
    pub fn get(&self, target: &str) -> crate::client::Response {
        self.connect().get(target)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.process(), signal).unwrap();
    }

    /// Stops it by SIGSTOP. The signal is still pending when kill(2) returns, so this waits for the
    /// state of every thread.
    pub fn suspend(&self) {
        self.signal(Signal::STOP);
        self.wait_until("every thread is stopped", || is_stopped(self.pid()));
    }

    pub fn process(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap()).unwrap()
    }

    /// Returns whether the process exits within this time.
    pub fn exits_within(&self, time: Duration) -> bool {
        let process = pidfd_open(self.process(), PidfdFlags::empty()).unwrap();
        is_readable(&process, time)
    }

    /// Polls the condition until it holds. Panics if the server exits before.
    pub fn wait_until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(start.elapsed() < TEST_TIMEOUT, "timed out waiting for: {what}");
            assert!(
                !self.exits_within(Duration::from_millis(5)),
                "the server exited before: {what}"
            );
        }
    }

    /// Returns the number of its sockets and of the files of the site that it has open, without the
    /// descriptors that its threads wait with, some of which start late.
    pub fn open_for_clients(&self, root: &Path) -> usize {
        let counts =
            |target: &String| target.starts_with("socket:") || Path::new(target).starts_with(root);
        self.descriptors().values().filter(|target| counts(target)).count()
    }

    /// Returns the number of its sockets.
    pub fn sockets(&self) -> usize {
        self.descriptors().values().filter(|target| target.starts_with("socket:")).count()
    }

    /// Returns its open descriptors and their targets, as proc(5) shows them.
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

    /// Returns how many bytes its kernel keeps for a client, also after it has closed the connection: `tx_queue` of
    /// proc_net_tcp(5).
    pub fn unacknowledged(&self, client: &Client) -> usize {
        let port = client.stream.get_ref().local_addr().unwrap().port();
        let ends = [self.address.port(), port].map(|port| format!(":{port:04X}"));
        let table = fs::read_to_string("/proc/self/net/tcp").unwrap();
        let queues = table.lines().find_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            (fields[1].ends_with(&ends[0]) && fields[2].ends_with(&ends[1]))
                .then(|| fields[4].to_owned())
        });
        queues.map_or(0, |it| usize::from_str_radix(it.split(':').next().unwrap(), 16).unwrap())
    }

    /// Returns its child processes: the server itself, where it runs under another program.
    pub fn children(&self) -> Vec<Pid> {
        let path = format!("/proc/{0}/task/{0}/children", self.pid());
        let list = fs::read_to_string(path).unwrap_or_default();
        list.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
    }

    /// Waits for the exit. Returns the rest of standard error, too.
    pub fn wait(mut self) -> (ExitStatus, String) {
        assert!(self.exits_within(TEST_TIMEOUT), "the server does not exit");
        let status = self.child.wait().unwrap();
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).unwrap();
        (status, rest)
    }
}

/// Returns whether every thread of a process is stopped.
pub fn is_stopped(pid: u32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.map(|task| fs::read_to_string(task.unwrap().path().join("stat"))).all(|stat| {
        // The name may contain any byte; the state follows it. A thread that has ended does not run.
        stat.is_ok_and(|stat| stat.rsplit(") ").next().unwrap().starts_with('T'))
    })
}

/// Returns the kernel functions in which the threads of a process wait, "0" where it does not show them.
pub fn kernel_waits(pid: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("wchan")).ok()).collect()
}

impl Drop for Server {
    fn drop(&mut self) {
        // Under strace or a supervisor the server is a child, which would survive. A supervisor starts no other one if
        // it is killed first.
        let children = self.children();
        // The test may have stopped it already.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
        for child in children {
            let _gone = kill_process(child, Signal::KILL);
        }
        if thread::panicking() {
            // The reason of a failure, such as the report of a sanitizer.
            let mut printed = String::new();
            let _whole = self.stderr.read_to_string(&mut printed);
            println!("standard error: {printed}");
        }
    }
}
