//! The observer of a copy: prints errors and, on a terminal, a progress bar.

use karez_copy::{Error, Observer};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::progress_bar::Bar;
use crate::stderr as messages;

/// The observer of a copy.
pub(crate) struct Progress {
    bar: Bar,
    begin: Instant,
    quiet: bool,
    failures: Mutex<Vec<String>>,
    /// The signal that stops the copy, or 0.
    signal: Arc<AtomicUsize>,
}

impl Progress {
    /// With `quiet` there is neither a bar nor a warning.
    pub(crate) fn new(quiet: bool, signal: Arc<AtomicUsize>) -> Self {
        let (bar, begin) = (Bar::new(quiet), Instant::now());
        Self { bar, begin, quiet, failures: Mutex::default(), signal }
    }

    /// Removes the bar; returns the duration and the error messages.
    pub(crate) fn end(self) -> (Duration, Vec<String>) {
        self.bar.end();
        let failures = self.failures.into_inner().unwrap_or_else(PoisonError::into_inner);
        (self.begin.elapsed(), failures)
    }
}

impl Observer for Progress {
    fn file_found(&self, bytes: u64) {
        self.bar.add_length(bytes);
    }

    fn stream_found(&self) {
        self.bar.unset_length();
    }

    fn advanced(&self, bytes: u64) {
        self.bar.advance(bytes);
    }

    fn failed(&self, error: &Error) {
        self.bar.suspend(|| messages::error(error));
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.push(error.to_string());
    }

    fn attribute_failed(&self, error: &Error) {
        self.failed(error);
    }

    fn warned(&self, source: &Path, why: &'static str) {
        if !self.quiet {
            self.bar.suspend(|| messages::warning(&format_args!("{source:?} {why}")));
        }
    }

    fn should_stop(&self) -> bool {
        self.signal.load(Ordering::Relaxed) != 0
    }
}
