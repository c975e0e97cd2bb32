//! How much of a request is read before it is refused.
//!
//! Offsets into a head are kept in 16 bits, so no head may reach 64 KiB: a larger limit is cut.

/// The largest head that can be asked for; [`Limits::head`] is cut to it.
pub const LARGEST_HEAD: usize = u16::MAX as usize;

/// Bounds on what one peer may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the request target; more is 414 (RFC 9112 §3).
    pub target: usize,
    /// Bytes of the whole head, and of the trailers of a chunked body; more is 431 (RFC 6585 §5).
    pub head: usize,
    /// Field lines of a head, or of trailers; more is 431.
    pub fields: usize,
    /// The largest request body that is read and thrown away, its framing counted.
    pub drain: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { target: 8 * 1024, head: 16 * 1024, fields: 100, drain: 1024 * 1024 }
    }
}
