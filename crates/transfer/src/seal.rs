//! Sealing: records of the bytes that leave, made in place, as TLS in user space makes them.
//!
//! An [`Outbox`](crate::Outbox) under a seal gathers plaintext into one buffer with room for what
//! the seal puts before and behind it, seals it once and keeps the record until it has left. Files
//! are read for that, so every via runs as `copy`, and the report gives [`Reason::Sealed`].
//!
//! # Limitations
//!
//! A slow reader holds one unsent record in memory. Where the socket takes less than a record, the
//! rest of that record is the only thing that can leave next.
//!
//! [`Reason::Sealed`]: crate::Reason::Sealed

use std::error::Error;
use std::fmt;

/// Makes records of plaintext.
pub trait Seal: Send {
    /// Returns the bytes that a record has before and behind its plaintext.
    fn room(&self) -> SealRoom;

    /// Returns the most plaintext of the next record, in bytes; more than 0. `idle`: nothing has been
    /// sent for a while, so a short first record reaches the peer's application earlier.
    fn max_plain(&self, idle: bool) -> usize;

    /// Makes a record in place. `record` has the plaintext in its middle, between the prefix and the
    /// tag for which [`room`](Self::room) asks.
    ///
    /// # Errors
    /// The keys are used up, or the cipher refuses. The connection cannot go on.
    fn seal(&mut self, kind: RecordKind, record: &mut [u8]) -> Result<(), SealError>;
}

/// How many bytes a seal needs around the plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealRoom {
    /// Before it.
    pub prefix: usize,
    /// Behind it.
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

/// A record could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SealError;

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
