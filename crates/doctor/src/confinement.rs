//! The confinement of a server: Landlock (landlock(7), Linux 5.13) and filters of system calls (seccomp(2), 3.5).
//!
//! Each is tried on a thread of its own, because it cannot be undone.

use karez_sandbox::{Enforced, Permissions, SystemCalls};
use std::io;
use std::thread;

use crate::finding::{Finding, Section};

pub(crate) fn section() -> Section {
    Section { title: "confinement", findings: vec![landlock(), seccomp()] }
}

fn landlock() -> Finding {
    let name = "Landlock";
    match on_thread(|| Permissions::default().enforce(false)).map(|enforced| enforced.version()) {
        Ok(Ok(version)) => {
            let covers = Enforced::covers(version);
            Finding::available(name, format!("version {version}: {covers}"))
        }
        Ok(Err(reason)) => Finding::refused(name, reason),
        Err(error) => Finding::unknown(name, error.to_string()),
    }
}

fn seccomp() -> Finding {
    let name = "seccomp";
    match on_thread(|| SystemCalls::default().enforce()) {
        Ok(()) => Finding::available(name, "an allow-list of system calls"),
        Err(error) => Finding::refused(name, error.to_string()),
    }
}

/// Calls `work` on a thread that then ends.
fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let thread = thread::Builder::new().spawn(work)?;
    thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
}
