//! SIGTERM and SIGINT: the first begins a stop, the second ends everything.
//!
//! A thread takes them by rt_sigtimedwait(2), so there is no handler and no pipe in between that
//! could fail. Where that thread ends for whatever reason, the stop begins: a server that nothing
//! could stop any more would be worse.
//!
//! # Limitations
//! The signals are blocked in every thread of the process.

use karez_reactor::Stop;
use karez_server::Log;
use karez_sys::BlockedSignals;
use rustix::io::Errno;
use rustix::process::Signal;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use std::{process, thread};

use crate::complain;

/// After the grace, how long a thread stuck in a disk may hold up the end. The ordinary end, with
/// the log lines of cancelled responses, takes more than a second where many processes share few
/// cores.
const STUCK: Duration = Duration::from_secs(5);

/// The pause after a wait that failed.
const PAUSE: Duration = Duration::from_millis(50);

/// How many waits may fail before that is said.
const COMPLAINT: u32 = 20;

/// As a shell reports a process that SIGTERM has ended.
const TERMINATED: i32 = 128 + 15;

/// The thread that waits for the signals.
pub(crate) struct StopSignals {
    /// The logs of a server, once there is one.
    serving: Arc<OnceLock<Vec<Log>>>,
}

impl StopSignals {
    /// Blocks the signals and has a thread wait for them; called before any other thread is made.
    /// Until [`begin_serving`](Self::begin_serving) a signal ends the process at once.
    ///
    /// # Errors
    /// The thread that cannot be made.
    pub(crate) fn watch(stop: &Stop, grace: Duration) -> io::Result<Self> {
        let signals = BlockedSignals::block(&[Signal::TERM, Signal::INT])?;
        let serving = Arc::new(OnceLock::new());
        let (stop, is_serving) = (StopAtEnd(stop.clone()), Arc::clone(&serving));
        let name = "karez-signals";
        let watch = move || obey(signals, &stop, &is_serving, grace);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(watch);
        thread.map_err(no_thread(name))?;
        Ok(Self { serving })
    }

    /// From now on the first signal begins a stop, and the end waits for these logs.
    pub(crate) fn begin_serving(&self, logs: Vec<Log>) {
        let _already = self.serving.set(logs);
    }
}

/// Begins the stop when the thread ends, also by a panic. (After a stop it changes nothing.)
struct StopAtEnd(Stop);

impl Drop for StopAtEnd {
    fn drop(&mut self) {
        self.0.begin();
    }
}

/// Takes the first signal and the second, and ends the process when the grace is over while some
/// thread still waits for a disk. A socket in the file system is removed by nobody then; the next
/// server finds that nobody answers there and takes its place.
fn obey(signals: BlockedSignals, stop: &StopAtEnd, serving: &OnceLock<Vec<Log>>, grace: Duration) {
    while !came(signals, None) {}
    let Some(logs) = serving.get() else { process::exit(TERMINATED) };
    stop.0.begin();
    // Two waits, so that the end has its time where the process is stopped during the grace.
    let _second = came(signals, Some(grace)) || came(signals, Some(STUCK));
    // Without the threads that are not done, but with the lines of requests that are.
    logs.iter().for_each(Log::flush);
    process::exit(0);
}

/// Whether a signal came within this time. An error is no reason to stop waiting.
fn came(signals: BlockedSignals, time: Option<Duration>) -> bool {
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
                if failed == COMPLAINT {
                    complain::about(&format!("rt_sigtimedwait: {}", io::Error::from(errno)));
                }
                thread::sleep(PAUSE);
            }
        }
    }
}

/// Names the thread that could not be made, and the call.
pub(crate) fn no_thread(name: &str) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("clone3, for thread {name}: {error}"))
}
