//! Limits of a request's size.
//!
//! Offsets into a head have 16 bits, so no head may reach 64 KiB: a larger limit is reduced.

/// The largest limit for a head, in bytes; [`Limits::head`] is reduced to it.
pub const LARGEST_HEAD: usize = u16::MAX as usize;

/// Limits of one request. `Limits::default()` sets the defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the request target; more is 414 (RFC 9112 §3). Default: 8 KiB.
    pub target: usize,
    /// Bytes of the whole head, and of the trailers of a chunked body; more is 431 (RFC 6585 §5).
    /// Default: 16 KiB.
    pub head: usize,
    /// Field lines of a head, or of trailers; more is 431. Default: 100.
    pub fields: usize,
    /// The largest request body that is discarded instead of closing the connection, in bytes, framing
    /// included. Default: 1 MiB.
    pub max_discarded_body: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { target: 8 * 1024, head: 16 * 1024, fields: 100, max_discarded_body: 1024 * 1024 }
    }
}
