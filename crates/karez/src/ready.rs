//! The thread that reports that the server serves, and then for the watchdog of the service manager that its event
//! loops still run (systemd.service(5), `WatchdogSec=`).
//!
//! # Limitations
//!
//! An event loop that waits for a hung disk does not respond: in topology `single` a watchdog may therefore end
//! the server for the sake of one file. Threads of the worker pool are not asked.

use karez_reactor::{Handover, Shutdown};
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use crate::service_manager::{self, ServiceManager};
use crate::stop_signals::no_thread;
use crate::upgrade;

/// The time within which the event loops have to run at the start: longer than that of an upgrade.
const START_TIMEOUT: Duration = Duration::from_secs(300);

/// Starts the thread. `unused` are the names of UNIX sockets of the process before, which removes them; those of
/// `handover` are then names of this one.
///
/// # Errors
/// A thread that cannot be made.
pub(crate) fn start(
    shutdown: Shutdown,
    manager: ServiceManager,
    status: String,
    unused: Vec<PathBuf>,
    handover: Handover,
) -> io::Result<()> {
    let name = "karez-ready";
    let report = move || {
        if !shutdown.responds_within(START_TIMEOUT) {
            return;
        }
        handover.own_names();
        // The process that is replaced reports it for this one, whose messages do not count before.
        if !upgrade::ready(&unused) {
            manager.ready(&status);
        }
        if let Some(limit) = service_manager::watchdog() {
            watch(&shutdown, &manager, limit);
        }
    };
    thread::Builder::new().name(name.to_owned()).spawn(report).map_err(no_thread(name))?;
    Ok(())
}

/// Reports again and again that the event loops run, at least twice within the limit.
fn watch(shutdown: &Shutdown, manager: &ServiceManager, limit: Duration) {
    let pause = limit / 4;
    while !shutdown.is_triggered() {
        if shutdown.responds_within(pause) {
            manager.alive();
        }
        thread::sleep(pause);
    }
}
