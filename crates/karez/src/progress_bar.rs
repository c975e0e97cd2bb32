//! A progress bar on standard error, if that is a terminal and the work takes long enough.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal as _, stderr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The time before the bar is shown.
const DELAY: Duration = Duration::from_millis(500);

const TEMPLATE: &str = "{bar:30} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}";

/// The template for work of unknown length.
const STREAM_TEMPLATE: &str = "{binary_bytes} {binary_bytes_per_sec} {elapsed}";

/// The length of work of unknown length.
const UNKNOWN: u64 = u64::MAX;

/// A bar that counts bytes. Where it is not shown, no more than that: several threads call it for each file.
pub(crate) struct Bar {
    bar: ProgressBar,
    begin: Instant,
    /// The bar may be shown.
    has_terminal: bool,
    is_shown: AtomicBool,
    position: AtomicU64,
    length: AtomicU64,
}

impl Bar {
    /// With `quiet` it is never shown.
    pub(crate) fn new(quiet: bool) -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden());
        let (position, length) = (AtomicU64::new(0), AtomicU64::new(0));
        let has_terminal = !quiet && stderr().is_terminal();
        let is_shown = AtomicBool::new(false);
        Self { bar, begin: Instant::now(), has_terminal, is_shown, position, length }
    }

    pub(crate) fn add_length(&self, bytes: u64) {
        if self.has_terminal && self.length.load(Ordering::Relaxed) != UNKNOWN {
            self.length.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Must be called before the first byte.
    pub(crate) fn unset_length(&self) {
        self.length.store(UNKNOWN, Ordering::Relaxed);
    }

    pub(crate) fn advance(&self, bytes: u64) {
        if !self.has_terminal {
            return;
        }
        let position = self.position.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let is_shown = self.is_shown.load(Ordering::Relaxed);
        if !is_shown && self.begin.elapsed() <= DELAY {
            return;
        }
        let length = self.length.load(Ordering::Relaxed);
        if !is_shown && !self.is_shown.swap(true, Ordering::Relaxed) {
            self.show(length == UNKNOWN);
        }
        if length != UNKNOWN {
            self.bar.set_length(length);
        }
        self.bar.set_position(position);
    }

    fn show(&self, is_stream: bool) {
        let template = if is_stream { STREAM_TEMPLATE } else { TEMPLATE };
        if is_stream {
            self.bar.unset_length();
        }
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
        self.bar.set_draw_target(ProgressDrawTarget::stderr());
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
