//! Upgrade without a lost request, by SIGUSR2 or `karez upgrade`: another process, of the program and the
//! configuration that there are by then, gets the listeners and begins to serve; then this one drains.
//!
//! ```text
//! karez upgrade ──▶ launcher ──SIGUSR2──▶ server           docs/ARCHITECTURE.md, "Upgrades"
//!                   launcher ◀─listeners── server
//!        successor ◀─listeners── launcher                  execve(2)
//!        successor ──ready──▶ launcher ──ready──▶ server   which drains
//! ```
//!
//! Both processes have the same sockets, and therefore the same queues: a connection that waits in one is
//! accepted by either of them.
//!
//! # Limitations
//!
//! What a process has in memory is lost: hot files, results of compression, tickets of TLS sessions, counts of
//! requests per address. With model `uring` the old process stops accepting before the event loops of the new one
//! run, so that a failure after that ends the service.

mod channel;
mod control;
mod launcher;
mod program;
mod successor;
mod word;

pub(crate) use successor::{
    begin, forget, listeners, ready, replaces_another, report_fault, wait_for_turn,
};

use karez_reactor::{Handover, Shutdown, TcpOptions};
use karez_server::Log;
use karez_sys::BlockedSignals;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, waitpid};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fs, io, process, thread};

use crate::activation::Activated;
use crate::cli::UpgradeArgs;
use crate::logs::Logs;
use crate::service_manager::ServiceManager;
use crate::stderr;
use crate::stop_signals::{EXIT_TIMEOUT, no_thread};
use channel::Channel;

/// The time that `karez upgrade` waits for a result: longer than any step of an upgrade.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(150);

/// The launcher of this process, or the reason why there is none.
pub(crate) struct Launcher(Result<(Channel, Pid), String>);

impl Launcher {
    /// Starts it. Must be called before any thread is made. `close` closes in the launcher what belongs to the
    /// server alone.
    pub(crate) fn start(close: impl FnOnce()) -> Self {
        let close = || {
            close();
            successor::forget();
        };
        Self(launcher::start(close).map_err(|error| error.to_string()))
    }

    /// Returns none, for this reason.
    pub(crate) fn none(reason: &str) -> Self {
        Self(Err(reason.to_owned()))
    }
}

/// The parts of a server that an upgrade needs.
pub(crate) struct Upgrade {
    launcher: Mutex<Launcher>,
    handover: Handover,
    activated: Activated,
    shutdown: Shutdown,
    manager: ServiceManager,
    logs: Logs,
    grace: Duration,
    /// Another process serves, or is about to.
    hands_over: AtomicBool,
}

impl Upgrade {
    pub(crate) fn new(
        launcher: Launcher,
        handover: Handover,
        activated: Activated,
        shutdown: Shutdown,
        manager: ServiceManager,
        logs: Logs,
        grace: Duration,
    ) -> Self {
        let launcher = Mutex::new(launcher);
        let hands_over = AtomicBool::new(false);
        Self { launcher, handover, activated, shutdown, manager, logs, grace, hands_over }
    }

    /// Starts the thread that waits for SIGUSR2.
    ///
    /// # Errors
    /// A thread that cannot be made.
    pub(crate) fn start(self: &Arc<Self>, signal: BlockedSignals) -> io::Result<()> {
        let (name, upgrade) = ("karez-upgrade", Arc::clone(self));
        let wait = move || {
            loop {
                match signal.wait(None) {
                    Ok(true) => match upgrade.run() {
                        Ok(()) => upgrade.wait_for_exit(),
                        Err(reason) => {
                            let line = format!("not upgraded, this process goes on: {reason}");
                            upgrade.logs.errors.error(&line);
                        }
                    },
                    Ok(false) | Err(Errno::INTR) => {}
                    Err(_) => return,
                }
            }
        };
        thread::Builder::new().name(name.to_owned()).spawn(wait).map_err(no_thread(name))?;
        Ok(())
    }

    /// Sets options of the connections that the listeners accept from now on.
    ///
    /// # Errors
    /// As [`Handover::set_tcp_options`].
    pub(crate) fn set_tcp_options(&self, options: &TcpOptions) -> io::Result<()> {
        self.handover.set_tcp_options(options)
    }

    /// Has another process serve, and begins to drain.
    ///
    /// # Errors
    /// The reason why this process has to go on.
    pub(crate) fn run(&self) -> Result<(), String> {
        let launcher = self.launcher.lock().unwrap_or_else(PoisonError::into_inner);
        let (channel, launcher) = launcher.0.as_ref().map_err(Clone::clone)?;
        let text = |error: io::Error| format!("launcher: {error}");
        let sent = successor::send_listeners(channel, &self.handover, &self.activated);
        sent.map_err(text)?;
        loop {
            let message = channel.receive(None).map_err(|errno| text(errno.into()))?;
            let message = message.ok_or_else(|| "the launcher has ended".to_owned())?.text;
            match message.split_once(' ').unwrap_or((&message, "")) {
                (word::PREPARED, _) => {
                    self.drain();
                    let _in_time = self.shutdown.stops_accepting_within(self.grace);
                    channel.send(word::READY, &[]).map_err(|errno| text(errno.into()))?;
                }
                (word::READY, process) => {
                    self.hand_over(process, channel, *launcher);
                    return Ok(());
                }
                (_, reason) => return Err(reason.to_owned()),
            }
        }
    }

    /// Leaves the service to another process, of which the process ID is given, and behind it the names of UNIX
    /// sockets that it does not need.
    fn hand_over(&self, process: &str, channel: &Channel, launcher: Pid) {
        let mut lines = process.lines();
        let successor = lines.next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
        self.handover.keep_names();
        for name in lines {
            // It may have been removed already.
            let _gone = fs::remove_file(name);
        }
        self.drain();
        // A process that waits for the upgrade is told now, so that it finds this process draining.
        let _gone = channel.send(word::READY, &[]);
        // The successor becomes a child of the service manager when the launcher has ended.
        // A sandbox may deny waitpid(2), so the end of the channel is awaited, too.
        let _ended = channel.receive(Some(EXIT_TIMEOUT));
        let _reaped = waitpid(Some(launcher), WaitOptions::empty());
        if let Some(successor) = successor {
            self.manager.succeeded_by(successor);
            let (number, grace) = (successor.as_raw_nonzero(), self.grace);
            self.logs.errors.info(&format!(
                "process {number} serves, this one ends its connections within {grace:?}"
            ));
        }
    }

    fn drain(&self) {
        // Before the last event loop may end, and with it this process.
        self.hands_over.store(true, Ordering::SeqCst);
        self.shutdown.drain();
    }

    /// Waits until a process that serves in place of this one is ready and reported, if there is one.
    pub(crate) fn finish(&self) {
        if self.hands_over.load(Ordering::SeqCst) {
            drop(self.launcher.lock());
        }
    }

    /// Ends the process if a thread is still blocked on a disk after the grace period.
    pub(crate) fn wait_for_exit(&self) -> ! {
        thread::sleep(self.grace);
        thread::sleep(EXIT_TIMEOUT);
        self.logs.all().iter().for_each(Log::flush);
        process::exit(0);
    }
}

/// Blocks SIGUSR2, in all threads that are made later.
///
/// # Errors
/// As [`BlockedSignals::block`].
pub(crate) fn block_signal() -> io::Result<BlockedSignals> {
    Ok(BlockedSignals::block(&[Signal::USR2])?)
}

/// Runs `karez upgrade`.
///
/// # Errors
/// The reason why the server was not replaced.
pub(crate) fn request(args: &UpgradeArgs) -> io::Result<()> {
    let server = match args.pid.and_then(|pid| Pid::from_raw(pid.cast_signed())) {
        Some(server) => server,
        None => only_server()?,
    };
    let reply = control::request(server, REQUEST_TIMEOUT)?;
    match reply.split_once(' ').unwrap_or((&reply, "")) {
        (word::READY, process) => {
            let pid = process.lines().next().unwrap_or_default();
            stderr::notice(&format!(
                "process {pid} serves in place of {}",
                server.as_raw_nonzero()
            ));
            Ok(())
        }
        (_, reason) => {
            Err(io::Error::other(format!("process {} goes on: {reason}", server.as_raw_nonzero())))
        }
    }
}

fn only_server() -> io::Result<Pid> {
    let servers = control::servers()?;
    match servers[..] {
        [server] => Ok(server),
        [] => Err(io::Error::other("no karez serve runs here that can be upgraded")),
        _ => {
            let numbers: Vec<_> =
                servers.iter().map(|pid| pid.as_raw_nonzero().to_string()).collect();
            let numbers = numbers.join(", ");
            Err(io::Error::other(format!("several servers run: name one of {numbers}")))
        }
    }
}
