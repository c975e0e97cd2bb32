//! Detects whether a process is quiescent: all its threads sleep at the same moment (proc(5)).
//!
//! Each thread is inspected twice. A thread that slept both times without a context switch in
//! between slept all the time, so all threads slept at the moment between the two inspections.
//! Pending responses will then not arrive without another event, which makes timeouts unnecessary.
//!
//! # Limitations
//! It reads one file per thread twice. A busy-polling process is never quiescent.

use rustix::process::Pid;
use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// Maximum time until an idle process is quiescent.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Delay before the next inspection.
const POLL_INTERVAL: Duration = Duration::from_micros(200);

/// Returns whether all threads of the process sleep.
pub(crate) fn is_quiescent(pid: Pid) -> bool {
    let first = switches_if_all_sleep(pid);
    first.is_some() && first == switches_if_all_sleep(pid)
}

/// Waits until all threads of the process sleep.
pub(crate) fn wait_until_quiescent(pid: Pid) -> Result<()> {
    let begun = Instant::now();
    while !is_quiescent(pid) {
        if begun.elapsed() > TIMEOUT {
            return Err(Error::new("wait for", "a server", "it does not become idle"));
        }
        thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}

/// Returns the context switches of each thread, if all threads sleep.
fn switches_if_all_sleep(pid: Pid) -> Option<BTreeMap<String, Vec<String>>> {
    let directory = format!("/proc/{}/task", pid.as_raw_nonzero());
    let entries = fs::read_dir(directory).ok()?;
    entries
        .map(|entry| {
            let entry = entry.ok()?;
            let status = fs::read_to_string(entry.path().join("status")).ok()?;
            let sleeps = status.lines().any(|line| line.starts_with("State:\tS"));
            let switches = status.lines().filter(|line| line.contains("voluntary_ctxt_switches"));
            let name = entry.file_name().into_string().ok()?;
            sleeps.then(|| (name, switches.map(str::to_owned).collect()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    #[test]
    fn sleeping_process_is_quiescent_and_busy_one_is_not() {
        let mut child = Command::new("sh").stdin(Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_child(&child);
        wait_until_quiescent(pid).unwrap();
        // It runs until it is killed.
        writeln!(child.stdin.as_mut().unwrap(), "while :; do :; done").unwrap();
        while is_quiescent(pid) {
            thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!is_quiescent(pid), "an exited process has no idle threads");
    }
}
