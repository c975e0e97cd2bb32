//! What a person sees while files are copied: errors as they come and, on a terminal, a bar.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use karez_copy::{Error, Observer};
use std::io::{IsTerminal as _, stderr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::complain;

/// What is over sooner needs no bar.
const SOON: Duration = Duration::from_millis(500);

/// Of what has no known length.
const STREAM_FORM: &str = "{binary_bytes} {binary_bytes_per_sec} {elapsed}";

/// Watches a copy.
pub(crate) struct Progress {
    bar: ProgressBar,
    begin: Instant,
    quiet: bool,
    /// The bar waits to be shown.
    waits: AtomicBool,
    failures: Mutex<Vec<String>>,
    /// The signal that ends the copy, or 0.
    signal: Arc<AtomicUsize>,
}

impl Progress {
    /// `quiet`: neither a bar nor warnings.
    pub(crate) fn new(quiet: bool, signal: Arc<AtomicUsize>) -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden());
        let form = "{bar:30} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}";
        if let Ok(style) = ProgressStyle::with_template(form) {
            bar.set_style(style);
        }
        Self {
            bar,
            begin: Instant::now(),
            quiet,
            waits: AtomicBool::new(!quiet && stderr().is_terminal()),
            failures: Mutex::default(),
            signal,
        }
    }

    /// How long it took, and what failed; the bar goes.
    pub(crate) fn end(self) -> (Duration, Vec<String>) {
        self.bar.finish_and_clear();
        let failures = self.failures.into_inner().unwrap_or_else(PoisonError::into_inner);
        (self.begin.elapsed(), failures)
    }
}

impl Observer for Progress {
    fn found(&self, bytes: u64) {
        self.bar.inc_length(bytes);
    }

    fn found_stream(&self) {
        self.bar.unset_length();
        if let Ok(style) = ProgressStyle::with_template(STREAM_FORM) {
            self.bar.set_style(style);
        }
    }

    fn advanced(&self, bytes: u64) {
        if self.waits.load(Ordering::Relaxed)
            && self.begin.elapsed() > SOON
            && self.waits.swap(false, Ordering::Relaxed)
        {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.inc(bytes);
    }

    fn failed(&self, error: &Error) {
        self.bar.suspend(|| complain::about(error));
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.push(error.to_string());
    }

    fn unkept(&self, error: &Error) {
        self.failed(error);
    }

    fn warned(&self, source: &Path, why: &'static str) {
        if !self.quiet {
            self.bar.suspend(|| complain::warn(&format_args!("{source:?} {why}")));
        }
    }

    fn stops(&self) -> bool {
        self.signal.load(Ordering::Relaxed) != 0
    }
}
