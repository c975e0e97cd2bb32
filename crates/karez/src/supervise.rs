//! `--supervise`: the server runs in a child process, and another one is started as soon as a signal ends it: SIGABRT
//! of a failed allocation, SIGSEGV, SIGKILL of the OOM killer.
//!
//! ```text
//! supervisor: listeners ──fork──▶ server ──▶ SIGABRT        connections of the server end,
//!                       ──fork──▶ server                   those in the queues of the listeners do not
//! ```
//!
//! The supervisor has one thread, reads nothing from the network, and keeps the listeners open, so that no connection
//! is refused meanwhile. It passes signals on. A child that exits is not replaced: the supervisor exits with its status.
//!
//! # Limitations
//!
//! Connections of the child that was ended are lost; only those that it had not accepted are served. A supervisor that
//! is killed by SIGKILL leaves its child, which goes on. An upgrade makes another supervisor, and this one ends with its
//! child; as the first process of a container it cannot be replaced. What a child reports to a service manager
//! (sd_notify(3)) is not of its main process.

use karez_reactor::{HandoverListener, InheritedListener, Server};
use karez_sys::{BlockedSignals, Fork};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getppid, kill_process, setpgid, wait};
use rustix::thread::set_name;
use signal_hook::low_level::signal_name;
use std::io;
use std::process;
use std::time::{Duration, Instant};

use crate::activation::Inherited;
use crate::cli::ServeArgs;
use crate::configuration::{Configuration, Flags};
use crate::serve_options::{bind, selected};
use crate::stderr;
use crate::upgrade;

/// A child that has run for so long is replaced at once.
const STABLE: Duration = Duration::from_secs(1);

/// The pause before the second child that is started without a [stable](STABLE) one, doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The exit status that a shell reports for a signal.
const BY_SIGNAL: i32 = 128;

/// The signals that the supervisor waits for: the end of a child, and those that it passes on.
const SIGNALS: [Signal; 7] = [
    Signal::CHILD,
    Signal::TERM,
    Signal::INT,
    Signal::QUIT,
    Signal::HUP,
    Signal::USR1,
    Signal::USR2,
];

/// Returns in each child, with what it serves. The calling process becomes the supervisor, and never returns but
/// with an error. Must be called before any thread is made.
///
/// # Errors
/// An address that cannot be bound; fork(2).
pub(crate) fn in_child(
    flags: &Flags,
    configuration: Configuration,
    mut inherited: Inherited,
) -> io::Result<(Configuration, Inherited)> {
    let config = selected(&configuration.serve).config;
    let server = bind(&configuration.serve, config, &mut inherited.listeners)?;
    let mut supervisor = Supervisor {
        signals: BlockedSignals::block(&SIGNALS)?,
        stops: false,
        pause: Duration::ZERO,
        started: Instant::now(),
    };
    let mut restarts = false;
    loop {
        supervisor.started = Instant::now();
        match karez_sys::fork().map_err(|errno| named("fork", errno))? {
            Fork::Parent(child) => {
                // These are of the first child: the process that is replaced waits for its report.
                upgrade::forget();
                inherited.listeners.clear();
                let _unnamed = set_name(c"karez-supervise");
                supervisor.watch(child);
                restarts = true;
            }
            Fork::Child => {
                let _unnamed = set_name(c"karez");
                supervisor.signals.unblock()?;
                // A terminal signals all processes of the group, and the supervisor passes that on, too.
                setpgid(None, None).map_err(|errno| named("setpgid", errno))?;
                take_listeners(&server, &mut inherited)?;
                drop(server);
                let configuration =
                    if restarts { read_again(flags, configuration) } else { configuration };
                return Ok((configuration, inherited));
            }
        }
    }
}

/// Returns whether this is the child of a supervisor that is the first process of a container, with which the container
/// ends.
pub(crate) fn is_below_first_process(args: &ServeArgs) -> bool {
    args.supervise && getppid() == Some(Pid::INIT)
}

/// Passes the listeners on to the server that this process makes.
fn take_listeners(server: &Server, inherited: &mut Inherited) -> io::Result<()> {
    let handover = server.handover();
    for HandoverListener { socket, requested, owns_name, .. } in handover.listeners() {
        let socket = socket.try_clone()?;
        match inherited.activated.name(&requested).map(str::to_owned) {
            Some(name) => inherited.add(InheritedListener::new(socket, None, false)?, name),
            None => {
                let listener = InheritedListener::new(socket, Some(requested), owns_name)?;
                inherited.listeners.push(listener);
            }
        }
    }
    handover.keep_names();
    Ok(())
}

/// Returns the configuration as it is now, or the one of the start if it has a fault by now.
fn read_again(flags: &Flags, of_start: Configuration) -> Configuration {
    let (found, faults) = Configuration::load(flags);
    let faults = faults.into_sorted();
    faults.iter().for_each(|fault| stderr::error(fault));
    found.filter(|_| faults.is_empty()).unwrap_or_else(|| {
        stderr::warning(&"the configuration is the one with which the supervisor was started");
        of_start
    })
}

/// The state of the supervisor.
struct Supervisor {
    signals: BlockedSignals,
    /// A signal that stops the server has been passed on.
    stops: bool,
    /// The pause before the next child.
    pause: Duration,
    /// When the child was started.
    started: Instant,
}

impl Supervisor {
    /// Waits until a signal has ended the child, and until another may be started. A child that exits, or is stopped,
    /// ends this process.
    fn watch(&mut self, child: Pid) {
        let number = child.as_raw_nonzero();
        let status = loop {
            match self.signals.take(None) {
                Ok(Some(Signal::CHILD)) => {
                    if let Some(status) = ended(child) {
                        break status;
                    }
                }
                Ok(Some(signal)) => self.pass_on(signal, child),
                Ok(None) | Err(Errno::INTR) => {}
                Err(errno) => self.give_up("rt_sigtimedwait", errno),
            }
        };
        let Some(signal) = status.terminating_signal() else {
            process::exit(status.exit_status().unwrap_or(1));
        };
        if self.stops {
            process::exit(BY_SIGNAL + signal);
        }
        let name = signal_name(signal).unwrap_or("a signal");
        stderr::error(&format!(
            "server process {number} was ended by {name} ({signal}), another one is started"
        ));
        self.wait_before_next();
    }

    fn pass_on(&mut self, signal: Signal, child: Pid) {
        self.stops |= matches!(signal, Signal::TERM | Signal::INT | Signal::QUIT);
        // It may have ended.
        let _gone = kill_process(child, signal);
    }

    /// Pauses, so that a server that fails at once does not take all CPU time.
    fn wait_before_next(&mut self) {
        if self.started.elapsed() >= STABLE {
            self.pause = Duration::ZERO;
        }
        let until = Instant::now() + self.pause;
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.signals.take(Some(left)) {
                Ok(Some(stop @ (Signal::TERM | Signal::INT | Signal::QUIT))) => {
                    process::exit(BY_SIGNAL + stop.as_raw());
                }
                Ok(None) if left.is_zero() => return,
                // A configuration that has changed is read by the next child.
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => self.give_up("rt_sigtimedwait", errno),
            }
        }
    }

    fn give_up(&self, call: &str, errno: Errno) -> ! {
        stderr::error(&named(call, errno));
        process::exit(1)
    }
}

/// Reaps all children that have ended, and returns the status of this one, if it is among them. As the first process of
/// a container the supervisor gets those of others, too.
fn ended(child: Pid) -> Option<WaitStatus> {
    let mut found = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == child {
            found = Some(status);
        }
    }
    found
}

fn named(call: &str, errno: Errno) -> io::Error {
    let error = io::Error::from(errno);
    io::Error::new(error.kind(), format!("{call}: {error}"))
}
