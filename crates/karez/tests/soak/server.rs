//! The server under test and its successors: start, reload, upgrade, and what they printed.

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::options::{Fault, Options};
use crate::tree::Tree;

/// A limit for each wait.
pub const TIMEOUT: Duration = Duration::from_secs(60);

pub struct Server {
    program: PathBuf,
    configuration: PathBuf,
    keys: String,
    child: Mutex<Child>,
    /// The processes that have not ended; the last one accepts.
    processes: Mutex<Vec<Pid>>,
    /// The lines of standard error.
    lines: Arc<(Mutex<Vec<String>>, Condvar)>,
    pub plain: SocketAddr,
    pub secure: SocketAddr,
}

const LOADED: &str = "karez: configuration loaded";
const KEPT: &str = "karez: the configuration stays as it was";

impl Server {
    /// Starts it, under a command that runs another one if there is a prefix.
    pub fn start(options: &Options, tree: &Tree, prefix: &[String]) -> Self {
        let ground = tree.ground.path();
        let configuration = ground.join("karez.toml");
        let path = |name: &str| ground.join(name).display().to_string();
        // On a busy machine clients or threads of the server may not run for long: no deadline ends what they do.
        let mut keys = format!(
            "root = {:?}\nlisten = [\"http:127.0.0.1:0\", \"https:127.0.0.1:0\"]\n\
             tls-cert = {:?}\ntls-key = {:?}\nlog = \"off\"\nlog-level = \"debug\"\ntar = true\ngrace = \"1h\"\n\
             send-timeout = \"1h\"\nmin-rate = \"0\"\nidle-timeout = \"1h\"\nlookup-timeout = \"{}\"\n",
            path("root"),
            path("server.pem"),
            path("server.key"),
            if options.has(Fault::Hang) { "5s" } else { "1h" },
        );
        // Root could read files of each mode.
        if rustix::process::geteuid().is_root() {
            keys.push_str("user = \"65534:65534\"\n");
        }
        fs::write(&configuration, &keys).unwrap();
        crate::environment::normalize();
        let words = prefix.iter().cloned().chain([options.server.display().to_string()]);
        let words: Vec<_> = words.collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["serve", "--config"]).arg(&configuration);
        command.args(&options.flags).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut first = String::new();
        stderr.read_line(&mut first).unwrap();
        let address = |scheme: &str| {
            let address = first.split(scheme).nth(1).and_then(|rest| rest.split('/').next());
            let address = address.and_then(|address| address.parse().ok());
            address.unwrap_or_else(|| panic!("no {scheme} in {first:?}"))
        };
        let (plain, secure) = (address("http://"), address("https://"));
        println!("{}", first.trim_end());
        let pid = Pid::from_raw(child.id() as i32).unwrap();
        let lines = Arc::<(Mutex<Vec<String>>, Condvar)>::default();
        let printed = Arc::clone(&lines);
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                printed.0.lock().unwrap().push(line);
                printed.1.notify_all();
            }
        });
        Self {
            program: options.server.clone(),
            configuration,
            keys,
            child: Mutex::new(child),
            processes: Mutex::new(vec![pid]),
            lines,
            plain,
            secure,
        }
    }

    /// The process that accepts.
    pub fn pid(&self) -> Pid {
        *self.processes.lock().unwrap().last().unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Reloads the configuration: a changed one, or one that is refused.
    pub fn reload(&self, number: u64) -> Result<(), String> {
        let is_valid = !number.is_multiple_of(3);
        let changed = format!("header-timeout = \"{}s\"\n", 60 + number % 7);
        let more = if is_valid { &changed } else { "no-such-key = 1\n" };
        let new = self.configuration.with_extension("new");
        fs::write(&new, format!("{}{more}", self.keys)).unwrap();
        fs::rename(new, &self.configuration).unwrap();
        let expected = if is_valid { LOADED } else { KEPT };
        let (lines, printed) = &*self.lines;
        let count =
            |lines: &Vec<String>| lines.iter().filter(|line| line.starts_with(expected)).count();
        let before = count(&lines.lock().unwrap());
        self.signal(Signal::HUP);
        let guard = lines.lock().unwrap();
        let (guard, waited) =
            printed.wait_timeout_while(guard, TIMEOUT, |lines| count(&*lines) == before).unwrap();
        drop(guard);
        if waited.timed_out() { Err(format!("SIGHUP without {expected:?}")) } else { Ok(()) }
    }

    /// Has another process take over.
    pub fn upgrade(&self) -> Result<(), String> {
        // A refused configuration would leave the old process in place.
        fs::write(&self.configuration, &self.keys).unwrap();
        let pid = self.pid().as_raw_nonzero().to_string();
        let output = Command::new(&self.program).args(["upgrade", &pid]).output();
        let output = output.map_err(|error| error.to_string())?;
        let printed = String::from_utf8_lossy(&output.stderr);
        let number = printed.split("process ").nth(1).and_then(|rest| rest.split(' ').next());
        let number = number.and_then(|number| number.parse().ok()).and_then(Pid::from_raw);
        match number.filter(|_| output.status.success()) {
            Some(successor) => self.processes.lock().unwrap().push(successor),
            None => return Err(format!("karez upgrade: {printed}")),
        }
        Ok(())
    }

    /// Waits for the end of replaced processes, whose connections have ended.
    pub fn wait_for_replaced(&self) -> Result<(), String> {
        let mut processes = self.processes.lock().unwrap();
        let last = processes.pop().unwrap();
        let (start, replaced) = (Instant::now(), std::mem::replace(&mut *processes, vec![last]));
        drop(processes);
        for pid in replaced {
            let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
            let left = TIMEOUT.saturating_sub(start.elapsed());
            if !is_readable(&process, left) {
                return Err(format!("process {pid:?} was replaced and does not end"));
            }
        }
        Ok(())
    }

    /// Returns whether the process that accepts has ended.
    pub fn has_ended(&self) -> bool {
        pidfd_open(self.pid(), PidfdFlags::empty())
            .map_or(true, |process| is_readable(&process, Duration::ZERO))
    }

    /// Returns the printed lines by their beginnings, and how often each occurs; and those about panics.
    pub fn printed(&self) -> (Vec<(String, usize)>, Vec<String>) {
        let lines = self.lines.0.lock().unwrap();
        let mut counts = std::collections::BTreeMap::<String, usize>::new();
        for line in lines.iter() {
            *counts.entry(line.chars().filter(|c| !c.is_ascii_digit()).collect()).or_default() += 1;
        }
        let panics = lines.iter().filter(|line| line.contains("panic")).cloned().collect();
        (counts.into_iter().collect(), panics)
    }

    /// Stops the server, and returns whether it ended well.
    pub fn stop(&self) -> Result<(), String> {
        let process =
            pidfd_open(self.pid(), PidfdFlags::empty()).map_err(|errno| errno.to_string())?;
        self.signal(Signal::TERM);
        if !is_readable(&process, TIMEOUT) {
            return Err("the server does not end by SIGTERM".to_owned());
        }
        Ok(())
    }
}

fn is_readable(fd: &impl std::os::fd::AsFd, patience: Duration) -> bool {
    use rustix::event::{PollFd, PollFlags, poll};
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    let timeout = patience.try_into().unwrap();
    loop {
        match poll(&mut fds, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => {}
            ready => return ready.unwrap() > 0,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for pid in self.processes.get_mut().unwrap() {
            let _gone = kill_process(*pid, Signal::KILL);
        }
        let child = self.child.get_mut().unwrap();
        let _gone = child.kill();
        let _gone = child.wait();
        if thread::panicking() {
            println!("standard error: {:#?}", self.printed());
        }
    }
}
