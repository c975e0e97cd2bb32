//! A progress bar on standard error, if that is a terminal and the work takes long enough.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal as _, stderr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The time before the bar is shown.
const DELAY: Duration = Duration::from_millis(500);

const TEMPLATE: &str = "{bar:30} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}";

/// The template for work of unknown length.
const STREAM_TEMPLATE: &str = "{binary_bytes} {binary_bytes_per_sec} {elapsed}";

/// A bar that counts bytes.
pub(crate) struct Bar {
    bar: ProgressBar,
    begin: Instant,
    /// The bar is not shown yet.
    is_hidden: AtomicBool,
}

impl Bar {
    /// With `quiet` it is never shown.
    pub(crate) fn new(quiet: bool) -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style);
        }
        let is_hidden = AtomicBool::new(!quiet && stderr().is_terminal());
        Self { bar, begin: Instant::now(), is_hidden }
    }

    pub(crate) fn add_length(&self, bytes: u64) {
        self.bar.inc_length(bytes);
    }

    pub(crate) fn unset_length(&self) {
        self.bar.unset_length();
        if let Ok(style) = ProgressStyle::with_template(STREAM_TEMPLATE) {
            self.bar.set_style(style);
        }
    }

    pub(crate) fn advance(&self, bytes: u64) {
        if self.is_hidden.load(Ordering::Relaxed)
            && self.begin.elapsed() > DELAY
            && self.is_hidden.swap(false, Ordering::Relaxed)
        {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.inc(bytes);
    }

    /// Prints something while the bar is out of the way.
    pub(crate) fn suspend(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }

    /// Removes the bar.
    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
