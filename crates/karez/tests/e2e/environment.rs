//! Resets what the tests and their child processes inherit from the test runner: signal
//! dispositions and the umask.
//!
//! `nohup` ignores SIGHUP, a shell without job control ignores SIGINT and SIGQUIT of its background
//! jobs, and a container's first process may ignore SIGCHLD or SIGTERM. execve(2) preserves ignored
//! signals, so a child would survive the signal that is to stop it, and with an ignored SIGCHLD
//! wait(2) fails.
//!
//! `Command` of std resets the mask of blocked signals and SIGPIPE, and no other disposition, and
//! sigaction(2) needs unsafe code. A signal with a handler, however, has its default disposition
//! again after execve(2) (signal(7)). So each ignored signal gets a handler here that only sets a
//! flag, and the children get the default.
//!
//! # Limitations
//!
//! A program that is started before the first call of [`normalize`] inherits the old state. All
//! functions of this suite that start karez for a test that depends on it call it.

use rustix::fs::Mode;
use rustix::process::{Signal, umask};
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::{Arc, Once};

/// Signals that terminate a program or report a terminated child.
const RESET: [Signal; 5] = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM, Signal::CHILD];

/// Sets the dispositions and the umask of all programs started from now on. Further calls do
/// nothing.
pub fn normalize() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        umask(Mode::WGRP | Mode::WOTH);
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let ignored = ignored(&status);
        for signal in RESET.into_iter().filter(|signal| ignored & bit(*signal) != 0) {
            signal_hook::flag::register(signal.as_raw(), Arc::default()).unwrap();
        }
    });
}

/// Returns the set of ignored signals in a `status` file of proc(5).
fn ignored(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap()
}

fn bit(signal: Signal) -> u64 {
    1 << (signal.as_raw() - 1)
}

#[test]
fn children_have_default_dispositions_and_a_common_umask() {
    normalize();
    let output = Command::new("cat").arg("/proc/self/status").output().unwrap();
    let status = String::from_utf8(output.stdout).unwrap();
    let ignored = ignored(&status);
    let left: Vec<_> = RESET.into_iter().filter(|signal| ignored & bit(*signal) != 0).collect();
    assert!(left.is_empty(), "{left:?} are ignored still");
    assert!(status.contains("Umask:\t0022\n"), "{status}");
}

#[test]
fn ignored_signals_and_an_odd_umask_are_not_passed_on() {
    let program = std::env::current_exe().unwrap();
    let script = "trap '' HUP INT QUIT TERM CHLD; umask 077; exec \"$@\"";
    let mut odd = Command::new("sh");
    odd.args(["-c", script, "sh"]).arg(program);
    odd.args(["--exact", "environment::children_have_default_dispositions_and_a_common_umask"]);
    // A process group of its own, so that a signal from a terminal does not reach it alone.
    let output = odd.process_group(0).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && printed.contains("1 passed"), "{output:?}");
}
