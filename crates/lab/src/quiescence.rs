//! Whether a process is at rest: all its threads asleep at the same moment (proc(5)).
//!
//! Somebody looks at each thread twice. One that slept both times and made no context switch in
//! between slept all the while, so at the moment between the two looks all of them did. What is not
//! answered then will not be, until something happens: no clock is needed to say so.
//!
//! What it does badly: it reads a file a thread, twice; and who asks all the time never rests.

use rustix::process::Pid;
use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// How long it may take until one rests that has nothing to do.
const TIMEOUT: Duration = Duration::from_secs(20);

/// How long to wait before the next look.
const POLL_INTERVAL: Duration = Duration::from_micros(200);

/// Whether all threads of the process sleep.
pub(crate) fn is_quiescent(pid: Pid) -> bool {
    let first = switches_if_all_sleep(pid);
    first.is_some() && first == switches_if_all_sleep(pid)
}

/// Waits until all threads of the process sleep.
pub(crate) fn wait_until_quiescent(pid: Pid) -> Result<()> {
    let begun = Instant::now();
    while !is_quiescent(pid) {
        if begun.elapsed() > TIMEOUT {
            return Err(Error::new("wait for", "a server", "it does not come to rest"));
        }
        thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}

/// Each thread and its context switches so far, if all of them sleep.
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
        // It works until it is told to stop, by a signal.
        writeln!(child.stdin.as_mut().unwrap(), "while :; do :; done").unwrap();
        while is_quiescent(pid) {
            thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!is_quiescent(pid), "it is gone");
    }
}
