//! Avoids the silly window syndrome: a window that is small because the rest of it is in flight is not used.
//!
//! A client that opens its windows by the octets of each DATA frame returns a small frame as a small window,
//! so that frames, once small, would stay small. As a sender of TCP does (RFC 1122 §4.2.3.4), the server
//! waits until a window is as large as what is to be sent, or has [`SMALL`] octets, unless there is nothing in
//! flight that could open it. A client may as well wait itself, until the whole window is used. For that, the
//! caller has a timeout, after which [`Connection::use_small_windows`] uses the window as it is. If
//! the client opens at least half of it thereupon, it is one of these, and small windows are used from then on.
//!
//! # Limitations
//!
//! How much is in flight follows from the initial window, so a stream whose window the client has opened
//! further by WINDOW_UPDATE uses small windows at once.

use super::Connection;
use super::window_use::{SMALL, SmallWindows};
use crate::h2::limits::DEFAULT_WINDOW;
use crate::h2::stream::{Sendable, StreamState};

impl<F> Connection<F> {
    /// Returns how many octets of its body a stream may send now.
    pub(super) fn window_of(&self, stream: &StreamState<F>) -> u64 {
        if self.is_withheld(stream) { 0 } else { self.open_window_of(stream) }
    }

    /// Returns whether a response waits for a larger window than the client has opened. The caller limits the
    /// time, by [`use_small_windows`](Self::use_small_windows).
    pub fn avoids_small_window(&self) -> bool {
        let waits = |stream: &StreamState<F>| {
            matches!(stream.next(), Sendable::Data(_))
                && self.open_window_of(stream) > 0
                && self.is_withheld(stream)
        };
        self.streams.iter().any(waits)
    }

    /// Lets the next [`fill`](Self::fill) use a window that is small.
    pub fn use_small_windows(&mut self) {
        if self.small_windows != SmallWindows::Permitted {
            self.small_windows = SmallWindows::Due;
        }
    }

    fn open_window_of(&self, stream: &StreamState<F>) -> u64 {
        u64::try_from(self.send_window.min(stream.send_window)).unwrap_or(0)
    }

    /// Returns whether a window is too small to be used, and will be larger.
    fn is_withheld(&self, stream: &StreamState<F>) -> bool {
        if matches!(self.small_windows, SmallWindows::Due | SmallWindows::Permitted) {
            return false;
        }
        let (small, left) = (i64::from(SMALL), stream.left());
        let wanted = small.min(i64::try_from(left).unwrap_or(small));
        let grows =
            |window: i64, initial: u32| window < wanted && i64::from(initial) - window >= small;
        grows(self.send_window, DEFAULT_WINDOW)
            || grows(stream.send_window, self.peer.initial_window)
    }
}
