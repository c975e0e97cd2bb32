//! Panics of a server in its log: each with its thread and a backtrace, and counted.
//!
//! The reactor contains a panic in its connection, so the process goes on, and this is the only trace of it.
//!
//! # Limitations
//!
//! A release build without debug information names the functions of the backtrace by their symbols alone. A panic
//! of the main thread ends the process, so it is printed by the standard hook.

use karez_server::ErrorLog;
use std::backtrace::Backtrace;
use std::panic;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Panics so far.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// Has the panics of all threads but the main one logged.
pub(crate) fn log_panics(log: ErrorLog) {
    let standard = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let thread = thread::current();
        if thread.name() == Some("main") {
            return standard(info);
        }
        let count = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
        log.error(&describe(&info.to_string(), thread.name(), count, &Backtrace::force_capture()));
    }));
}

fn describe(panic: &str, thread: Option<&str>, count: u64, backtrace: &Backtrace) -> String {
    let thread = thread.unwrap_or("without a name");
    format!("thread {thread}: {panic} (panic {count} of this process)\n{backtrace}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_described_with_a_backtrace() {
        let backtrace = Backtrace::force_capture();
        let text = describe("panicked at x.rs:1:1:\nboom", Some("karez-0"), 3, &backtrace);
        assert!(text.starts_with("thread karez-0: panicked at x.rs"), "{text}");
        assert!(text.contains("boom (panic 3 of this process)\n"), "{text}");
        assert!(text.contains("a_panic_is_described_with_a_backtrace"), "{text}");
    }
}
