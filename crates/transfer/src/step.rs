//! The contract of a step: what it is given, and what one bounded piece of work can come to.
//!
//! Every via answers with the bytes that reached the socket; 0 means that the file ends at the
//! offset, and `EAGAIN` that the socket takes nothing now.

use std::os::fd::BorrowedFd;

/// What one step is to move.
#[derive(Clone, Copy)]
pub(crate) struct Piece<'a> {
    pub(crate) file: BorrowedFd<'a>,
    pub(crate) offset: u64,
    /// At most so many bytes; more than 0.
    pub(crate) len: u64,
    pub(crate) out: BorrowedFd<'a>,
    /// The outbox has something behind these `len` bytes.
    pub(crate) more: bool,
}

/// How far one step came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many bytes left; there may be more to go.
    Moved(u64),
    /// The receiving side takes nothing now: step again when it is writable.
    ///
    /// On a blocking socket it means that `SO_SNDTIMEO` ran out (socket(7)).
    NeedsWritable,
    /// All bytes have been handed to the kernel.
    Done,
    /// The file ended before the range did. What went out cannot be completed.
    Truncated {
        /// How many of the promised bytes do not exist.
        missing: u64,
    },
}
