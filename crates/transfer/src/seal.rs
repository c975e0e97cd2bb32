//! Sealing: makes records of outgoing bytes in place, as TLS in user space does.
//!
//! An [`Outbox`](crate::Outbox) under a seal gathers plaintext into one buffer with room for the prefix
//! and the tag of a record, seals it once and keeps the record until it has been sent. Files
//! are read for that, so every via runs as `copy`, and the report gives [`Reason::Sealed`].
//!
//! # Limitations
//!
//! A slow reader holds one unsent record in memory. After a partial send, the rest of that record must be
//! sent before anything else.
//!
//! [`Reason::Sealed`]: crate::Reason::Sealed

use std::error::Error;
use std::fmt;

/// Makes records of plaintext.
pub trait Seal: Send {
    /// Returns the bytes that a record has before and behind its plaintext.
    fn room(&self) -> SealRoom;

    /// Returns the most plaintext of the next record, in bytes; more than 0. `idle`: the connection has
    /// sent little so far, so a short record reaches the peer's application earlier.
    fn max_plain(&self, idle: bool) -> usize;

    /// Makes a record in place. `record` has the plaintext in its middle, between the prefix and the
    /// tag for which [`room`](Self::room) asks.
    ///
    /// # Errors
    /// The keys are used up, or the cipher fails. The connection cannot continue.
    fn seal(&mut self, kind: RecordKind, record: &mut [u8]) -> Result<(), SealError>;
}

/// How many bytes a seal needs around the plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealRoom {
    /// Bytes before it.
    pub prefix: usize,
    /// Bytes behind it.
    pub tag: usize,
}

/// The content type of a record (TLS: RFC 8446 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordKind(pub u8);

impl RecordKind {
    /// `application_data`.
    pub const DATA: Self = Self(23);
    /// `alert`.
    pub const ALERT: Self = Self(21);
    /// `handshake`.
    pub const HANDSHAKE: Self = Self(22);
}

/// The error for a record that could not be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SealError;

impl SealError {
    /// Returns the error, for implementations of [`Seal`].
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the record could not be sealed")
    }
}

impl Error for SealError {}

impl From<SealError> for std::io::Error {
    fn from(error: SealError) -> Self {
        Self::other(error)
    }
}
