//! Graceful shutdown on SIGTERM or SIGINT, with `--drain` after that time or at the next signal; the signal
//! after that ends the process at once.
//!
//! A thread waits for them by rt_sigtimedwait(2), so that there is no handler and no pipe that could
//! fail. If that thread ends, for any reason, the shutdown begins, because no signal could begin it
//! later.
//!
//! # Limitations
//!
//! The signals are blocked in every thread of the process.

use karez_reactor::Shutdown;
use karez_server::{Drain, Log};
use karez_sys::BlockedSignals;
use rustix::io::Errno;
use rustix::process::Signal;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use std::{process, thread};

use crate::service_manager::ServiceManager;
use crate::stderr;

/// The time after the grace period for a thread that is blocked on a disk. An ordinary exit, with the
/// log lines of cancelled responses, takes more than a second if many processes share few cores.
pub(crate) const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

/// The pause after a wait that failed.
const PAUSE: Duration = Duration::from_millis(50);

/// The number of failed waits after which the error is printed.
const REPORT_AFTER: u32 = 20;

/// The exit status that a shell reports for SIGTERM.
const TERMINATED: i32 = 128 + 15;

/// The thread that waits for the signals.
pub(crate) struct StopSignals {
    /// The server, once it runs.
    serving: Arc<OnceLock<Serving>>,
}

/// A server that runs.
struct Serving {
    logs: Vec<Log>,
    manager: ServiceManager,
    drain: Drain,
    /// How long it drains.
    time: Duration,
}

impl StopSignals {
    /// Blocks the signals in this thread and those that it makes later.
    ///
    /// # Errors
    /// As [`BlockedSignals::block`].
    pub(crate) fn block() -> io::Result<BlockedSignals> {
        Ok(BlockedSignals::block(&[Signal::TERM, Signal::INT])?)
    }

    /// Starts the thread that waits for the [blocked](Self::block) signals. Until
    /// [`begin_serving`](Self::begin_serving) a signal ends the process at once.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub(crate) fn watch(
        signals: BlockedSignals,
        stop: &Shutdown,
        grace: Duration,
    ) -> io::Result<Self> {
        let serving = Arc::new(OnceLock::new());
        let (stop, is_serving) = (StopAtEnd(stop.clone()), Arc::clone(&serving));
        let name = "karez-signals";
        let watch = move || handle(signals, &stop, &is_serving, grace);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(watch);
        thread.map_err(no_thread(name))?;
        Ok(Self { serving })
    }

    /// Lets the first signal begin to drain the server for a time, and then a graceful shutdown, which flushes
    /// these logs. It is reported to the service manager.
    pub(crate) fn begin_serving(
        &self,
        logs: Vec<Log>,
        manager: ServiceManager,
        (drain, time): (Drain, Duration),
    ) {
        let _already = self.serving.set(Serving { logs, manager, drain, time });
    }
}

/// Begins the shutdown when the thread ends, also by a panic.
struct StopAtEnd(Shutdown);

impl Drop for StopAtEnd {
    fn drop(&mut self) {
        self.0.trigger();
    }
}

/// Handles both signals, and ends the process if a thread is still blocked on a disk after the grace
/// period. A UNIX socket is not removed then; the next server detects that no process listens on it
/// and replaces it.
fn handle(signals: BlockedSignals, stop: &StopAtEnd, serving: &OnceLock<Serving>, grace: Duration) {
    while !arrived(signals, None) {}
    let Some(Serving { logs, manager, drain, time }) = serving.get() else {
        process::exit(TERMINATED)
    };
    // Before the last event loop may end, and with it this process.
    manager.stopping();
    drain.begin();
    let _ends_early = !time.is_zero() && arrived(signals, Some(*time));
    stop.0.trigger();
    // Two waits, so that the exit has its time if the process is stopped (SIGSTOP) during the grace
    // period.
    let _second = arrived(signals, Some(grace)) || arrived(signals, Some(EXIT_TIMEOUT));
    // Blocked threads are not waited for; the lines of completed requests are written.
    logs.iter().for_each(Log::flush);
    process::exit(0);
}

/// Returns whether a signal arrived within this time. An error does not end the wait.
fn arrived(signals: BlockedSignals, time: Option<Duration>) -> bool {
    let begun = Instant::now();
    let mut failed = 0;
    loop {
        let left = time.map(|time| time.saturating_sub(begun.elapsed()));
        match signals.wait(left) {
            Ok(true) => return true,
            Ok(false) if time.is_some_and(|time| time <= begun.elapsed()) => return false,
            Ok(false) | Err(Errno::INTR) => thread::sleep(PAUSE.min(left.unwrap_or(PAUSE))),
            Err(errno) => {
                failed += 1;
                if failed == REPORT_AFTER {
                    stderr::error(&format!("rt_sigtimedwait: {}", io::Error::from(errno)));
                }
                thread::sleep(PAUSE);
            }
        }
    }
}

/// Adds the name of the thread that could not be made, and the call, to an error.
pub(crate) fn no_thread(name: &str) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("clone3, for thread {name}: {error}"))
}
