//! Signals that stop a command which writes files: it removes what is incomplete and reports, and then ends
//! as if it had not caught the signal.

use rustix::process::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

/// Catches the signals that stop the work; the number of the first is stored in the returned variable.
/// The work checks it between two steps, so that incomplete files are removed. Once `is_over` is set, a
/// signal acts as if it were not caught.
pub(crate) fn catch(is_over: &Arc<AtomicBool>) -> io::Result<Arc<AtomicUsize>> {
    let signal = Arc::new(AtomicUsize::new(0));
    let ignored = ignored_signals();
    // A signal that was ignored at the start stays ignored: nohup(1), or `&` in a script.
    let caught = |number: &i32| ignored >> (number - 1) & 1 == 0;
    for number in [SIGINT, SIGTERM, SIGHUP].into_iter().filter(caught) {
        let value = usize::try_from(number).unwrap_or(usize::MAX);
        signal_hook::flag::register_conditional_default(number, Arc::clone(is_over))?;
        signal_hook::flag::register_usize(number, Arc::clone(&signal), value)?;
    }
    // Caught, so that the write fails with `EFBIG` (setrlimit(2)) and only one file is affected.
    signal_hook::flag::register(Signal::XFSZ.as_raw(), Arc::default())?;
    Ok(signal)
}

/// Ends the process by this signal, so that a shell sees it; 0 is none.
pub(crate) fn end_by(signal: usize) {
    if signal != 0 {
        let number = i32::try_from(signal).unwrap_or(SIGTERM);
        let _still_here = signal_hook::low_level::emulate_default_handler(number);
    }
}

/// Returns the mask of proc_pid_status(5); 0 without /proc.
fn ignored_signals() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
