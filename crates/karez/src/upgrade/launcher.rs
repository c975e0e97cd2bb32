//! The launcher: a process that waits for the word to execute the program anew, with the listeners of the server.
//!
//! It is a copy of the server process made before the first thread (fork(2)), so it keeps the user, the working
//! directory, the environment and the rights that the server gives up later: a server in a sandbox cannot execute
//! anything. It takes neither a path nor an argument from the server, only sockets, and passes messages on between
//! the server and its successor without looking into the listeners. It ends with the server, or when the successor
//! is ready.
//!
//! # Limitations
//!
//! It shows as a second `karez serve` in ps(1), with the command name `karez-launcher`. As the first process of
//! a container the server has none, because the container would end with it.

use karez_sys::{BlockedSignals, Fork};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, getpid, getppid, kill_process};
use std::io;
use std::os::fd::AsFd as _;
use std::process::{self, Child};
use std::time::{Duration, Instant};

use super::channel::{Channel, MAX_DESCRIPTORS, Message, wait};
use super::control::Control;
use super::program::Program;
use super::word;

/// The time within which a server begins to drain.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// The time within which a successor has to be ready.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Starts the launcher, and returns the server's end and its process ID. `close` runs in the launcher only.
///
/// # Errors
/// A reason why there cannot be one.
pub(super) fn start(close: impl FnOnce()) -> io::Result<(Channel, Pid)> {
    if getpid() == Pid::INIT {
        return Err(io::Error::other("as the first process (PID 1) it cannot be replaced"));
    }
    let program = Program::of_this_process()?;
    let (server, launcher) = Channel::pair()?;
    let process = getpid();
    match karez_sys::fork() {
        Ok(Fork::Parent(pid)) => Ok((server, pid)),
        Ok(Fork::Child) => {
            drop(server);
            close();
            // A signal for the whole group ends the server, and with it this process.
            let _open = BlockedSignals::block(&[Signal::TERM, Signal::INT, Signal::HUP]);
            let _unnamed = rustix::thread::set_name(c"karez-launcher");
            Launcher { server: launcher, process, control: Control::open(process), program }.run()
        }
        Err(errno) => {
            let error = io::Error::from(errno);
            Err(io::Error::new(error.kind(), format!("fork: {error}")))
        }
    }
}

struct Launcher {
    server: Channel,
    /// The server.
    process: Pid,
    control: Option<Control>,
    program: Program,
}

/// A successor that is not ready yet.
struct Attempt {
    channel: Channel,
    child: Child,
    faults: Vec<String>,
    until: Instant,
}

impl Launcher {
    fn run(mut self) -> ! {
        loop {
            let mut fds = vec![self.server.as_fd()];
            fds.extend(self.control.as_ref().map(|control| control.as_fd()));
            let Ok(ready) = wait(&fds, None) else { process::exit(1) };
            if ready.get(1) == Some(&true) {
                self.accept();
            }
            if ready[0] {
                let Ok(Some(message)) = self.server.receive(None) else { process::exit(0) };
                let outcome = self.attempt(&message);
                self.conclude(&outcome);
            }
        }
    }

    /// Takes a request of `karez upgrade`, and has the server begin.
    fn accept(&mut self) {
        let accepted = self.control.as_mut().is_some_and(Control::accept);
        if accepted && getppid() == Some(self.process) {
            let _ended = kill_process(self.process, Signal::USR2);
        }
    }

    /// Reports the result to the server and to those who wait for it. A launcher whose successor is ready ends.
    fn conclude(&mut self, outcome: &Result<String, String>) {
        let text = match outcome {
            Ok(process) => format!("{} {process}", word::READY),
            Err(reason) => format!("{} {reason}", word::FAILED),
        };
        // The server may have ended meanwhile.
        let _gone = self.server.send(&text, &[]);
        if outcome.is_ok() {
            // Until it drains.
            let _late = self.server.receive(Some(DRAIN_TIMEOUT));
        }
        if let Some(control) = &mut self.control {
            control.reply(&text);
        }
        if outcome.is_ok() {
            process::exit(0);
        }
    }

    /// Starts a successor. Returns its process ID once it is ready, and behind it what it says.
    fn attempt(&self, first: &Message) -> Result<String, String> {
        let (channel, theirs) = Channel::pair().map_err(|errno| format!("socketpair: {errno}"))?;
        let child = self.program.start(theirs.into_socket()).map_err(|error| error.to_string())?;
        let until = Instant::now() + START_TIMEOUT;
        let mut attempt = Attempt { channel, child, faults: Vec::new(), until };
        attempt.pass_on(first);
        loop {
            let left = attempt.until.saturating_duration_since(Instant::now());
            let ready = wait(&[attempt.channel.as_fd(), self.server.as_fd()], Some(left));
            let Ok(ready) = ready else { return Err(attempt.give_up("poll failed")) };
            if ready[1] {
                match self.server.receive(None) {
                    Ok(Some(message)) => attempt.pass_on(&message),
                    // The server was stopped: so is the one that would replace it.
                    _ => {
                        attempt.kill();
                        process::exit(0)
                    }
                }
            }
            if ready[0] {
                if let Some(outcome) = self.follow(&mut attempt) {
                    return outcome;
                }
            } else if left.is_zero() {
                let reason = format!("it was not ready within {} s", START_TIMEOUT.as_secs());
                return Err(attempt.give_up(&reason));
            }
        }
    }

    /// Handles a message of the successor; returns the result if it was the last.
    fn follow(&self, attempt: &mut Attempt) -> Option<Result<String, String>> {
        let message = match attempt.channel.receive(Some(Duration::ZERO)) {
            Ok(Some(message)) => message.text,
            Err(Errno::TIME) => return None,
            Ok(None) | Err(_) => return Some(Err(attempt.ended())),
        };
        if let Some(names) = message.strip_prefix(word::READY) {
            return Some(Ok(format!("{}{names}", attempt.child.id())));
        }
        match message.split_once(' ').unwrap_or((&message, "")) {
            (word::PREPARED, _) => drop(self.server.send(word::PREPARED, &[])),
            (word::FAULT, fault) => attempt.faults.push(fault.to_owned()),
            _ => {}
        }
        None
    }
}

impl Attempt {
    fn pass_on(&self, message: &Message) {
        let descriptors: Vec<_> = message.descriptors.iter().map(|fd| fd.as_fd()).collect();
        debug_assert!(descriptors.len() <= MAX_DESCRIPTORS, "the channel receives no more");
        // A successor that has ended is noticed by the end of its channel.
        let _ended = self.channel.send(&message.text, &descriptors);
    }

    /// Returns why the successor has ended.
    fn ended(&mut self) -> String {
        let status = self.child.wait();
        if !self.faults.is_empty() {
            return self.faults.join("; ");
        }
        match status {
            Ok(status) => format!("it ended before it was ready ({status})"),
            Err(error) => format!("it ended before it was ready (wait: {error})"),
        }
    }

    fn give_up(&mut self, reason: &str) -> String {
        self.kill();
        self.faults.push(reason.to_owned());
        self.faults.join("; ")
    }

    fn kill(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
