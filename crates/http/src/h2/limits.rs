//! How much one peer may send, and how fast.
//!
//! Frames that cost their sender less than their receiver are counted in two token buckets, one for
//! streams that end before their time and one for everything else; see [`TokenBucket`]. A connection
//! that empties one ends with `ENHANCE_YOUR_CALM` (RFC 9113 §10.5).

use std::time::{Duration, Instant};

use super::frame::StreamId;
use crate::limits::LARGEST_HEAD;

/// Bounds on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionLimits {
    /// Streams at once; more are refused (SETTINGS_MAX_CONCURRENT_STREAMS).
    pub streams: u32,
    /// Octets of a header list as RFC 9113 §6.5.2 counts them, at most 65,535; more is 431. Four times
    /// as much ends the connection.
    pub header_list: usize,
    /// Octets of a field block before it is decoded; more ends the connection.
    pub field_block: usize,
    /// CONTINUATION frames of a field block; more end the connection.
    pub continuations: u32,
    /// Field lines of a head; more is 431.
    pub fields: usize,
    /// Octets of the request target; more is 414.
    pub target: usize,
    /// Parameters of one SETTINGS frame; more end the connection.
    pub settings: usize,
    /// Octets of request bodies that a stream may send ahead (SETTINGS_INITIAL_WINDOW_SIZE).
    pub stream_window: u32,
    /// Octets of request bodies that all streams may send ahead together, at least 65,535.
    pub connection_window: u32,
    /// Octets of a DATA frame that is sent, if the peer allows that much. A frame that has begun holds
    /// up all other streams.
    pub data_frame: u32,
    /// Octets of control frames that wait because the peer does not read; more end the connection.
    pub control_queue: usize,
    /// Streams that end before their time: reset by the client, or by the server because of an error
    /// of the client or because there are too many ("rapid reset", CVE-2023-44487, and
    /// "MadeYouReset", CVE-2025-8671).
    pub resets: Rate,
    /// PING, SETTINGS, PRIORITY, PRIORITY_UPDATE, unknown and empty DATA frames, tiny window updates,
    /// DATA frames that a window makes tiny, and field blocks that are dropped.
    pub control_frames: Rate,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            streams: 100,
            header_list: 16 * 1024,
            field_block: 32 * 1024,
            continuations: 16,
            fields: 100,
            target: 8 * 1024,
            settings: 32,
            stream_window: 65_535,
            connection_window: 256 * 1024,
            data_frame: 64 * 1024,
            control_queue: 64 * 1024,
            resets: Rate { burst: 400, per_second: 30 },
            control_frames: Rate { burst: 900, per_second: 100 },
        }
    }
}

impl ConnectionLimits {
    /// Returns the limits with those cut that the protocol, or this crate, does not allow.
    pub(super) fn clamped(self) -> Self {
        let most = StreamId::MAX.0;
        Self {
            header_list: self.header_list.min(LARGEST_HEAD),
            stream_window: self.stream_window.min(most),
            connection_window: self.connection_window.clamp(DEFAULT_WINDOW, most),
            data_frame: self.data_frame.clamp(1, MAX_FRAME),
            ..self
        }
    }
}

/// The windows that both sides of a connection begin with (RFC 9113 §6.9.2).
pub(super) const DEFAULT_WINDOW: u32 = 65_535;
/// The longest frame (RFC 9113 §4.2).
const MAX_FRAME: u32 = (1 << 24) - 1;

/// How many events are allowed at once, and how many per second in the long run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Events at once.
    pub burst: u32,
    /// Events per second.
    pub per_second: u32,
}

/// Counts events against a rate. It reads no clock: the caller passes the time.
#[derive(Debug)]
pub(super) struct TokenBucket {
    rate: Rate,
    tokens: u32,
    refilled: Option<Instant>,
}

impl TokenBucket {
    pub(super) const fn new(rate: Rate) -> Self {
        Self { rate, tokens: rate.burst, refilled: None }
    }

    /// Adds the tokens of the time that has passed.
    pub(super) fn refill(&mut self, now: Instant) {
        let refilled = *self.refilled.get_or_insert(now);
        if self.tokens >= self.rate.burst {
            self.refilled = Some(now);
            return;
        }
        let passed = now.saturating_duration_since(refilled);
        let tokens = passed.as_millis().saturating_mul(self.rate.per_second.into()) / 1000;
        let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        if tokens > 0 {
            self.add(tokens);
            let spent = u64::from(tokens) * 1000 / u64::from(self.rate.per_second.max(1));
            self.refilled = Some(refilled + Duration::from_millis(spent));
        }
    }

    /// Adds tokens for useful work.
    pub(super) fn add(&mut self, tokens: u32) {
        self.tokens = self.tokens.saturating_add(tokens).min(self.rate.burst);
    }

    /// Takes a token. Returns false where there is none.
    pub(super) fn take(&mut self) -> bool {
        let taken = self.tokens.checked_sub(1);
        self.tokens = taken.unwrap_or(0);
        taken.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::{Rate, TokenBucket};
    use std::time::{Duration, Instant};

    #[test]
    fn a_bucket_allows_its_burst_and_then_its_rate() {
        let mut bucket = TokenBucket::new(Rate { burst: 10, per_second: 4 });
        let start = Instant::now();
        bucket.refill(start);
        assert!((0..10).all(|_| bucket.take()));
        assert!(!bucket.take());
        // Refilled often or seldom, two seconds are eight tokens.
        for step in 1..=20 {
            bucket.refill(start + Duration::from_millis(100) * step);
        }
        assert_eq!((0..20).filter(|_| bucket.take()).count(), 8);
        bucket.refill(start + Duration::from_secs(60));
        assert_eq!((0..20).filter(|_| bucket.take()).count(), 10);
        bucket.add(3);
        assert_eq!((0..20).filter(|_| bucket.take()).count(), 3);
    }
}
