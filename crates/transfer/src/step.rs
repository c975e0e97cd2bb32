//! The contract of a step: what it is given, and what one bounded piece of work can come to.
//!
//! Every via answers with the bytes that reached the other end; 0 means that the source ends
//! there. Why it could not is a [`Stop`].

use rustix::io::Errno;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// One end of a movement.
#[derive(Clone, Copy)]
pub(crate) struct End<'a> {
    pub(crate) fd: BorrowedFd<'a>,
    /// The offset in a file; `None` for a stream.
    pub(crate) at: Option<u64>,
}

/// What one attempt is to move.
#[derive(Clone, Copy)]
pub(crate) struct Piece<'a> {
    pub(crate) from: End<'a>,
    pub(crate) to: End<'a>,
    /// All that remains; more than 0.
    pub(crate) len: u64,
    /// The most that one system call is asked for; at most `len`.
    pub(crate) chunk: u64,
    /// The outbox has something behind these `len` bytes.
    pub(crate) more: bool,
    /// Pages are not to stay in the cache (`RWF_DONTCACHE`).
    pub(crate) uncached: bool,
    /// A step may not wait for a disk.
    pub(crate) tells: bool,
    /// An end without an offset is a pipe and no socket.
    pub(crate) pipes: bool,
    /// The size asked for a pipe.
    pub(crate) pipe: u32,
    pub(crate) edits: &'a [Edit],
}

impl Piece<'_> {
    /// How many bytes one system call is asked for.
    pub(crate) fn count(&self) -> usize {
        usize::try_from(self.chunk).unwrap_or(usize::MAX)
    }

    /// Whether more follows at once behind `count` bytes of this piece. Behind what a socket gave,
    /// nobody knows.
    pub(crate) fn more_behind(&self, count: usize) -> bool {
        self.from.at.is_some() && (self.more || (count as u64) < self.len)
    }
}

/// Other bytes for a part of a file, as it leaves: see [`Via::Cow`](crate::Via::Cow).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Where in the file it begins.
    pub offset: u64,
    /// What stands there instead.
    pub bytes: Arc<[u8]>,
}

impl Edit {
    /// The part of this edit that lies within the `len` bytes from `start`: where it begins,
    /// counted from `start`, and its bytes.
    pub(crate) fn within(&self, start: u64, len: usize) -> Option<(usize, &[u8])> {
        let end = start.saturating_add(len as u64);
        let first = self.offset.max(start);
        let last = self.offset.saturating_add(self.bytes.len() as u64).min(end);
        let length = usize::try_from(last.checked_sub(first)?).ok().filter(|&length| length > 0)?;
        let skipped = usize::try_from(first - self.offset).ok()?;
        let at = usize::try_from(first - start).ok()?;
        Some((at, &self.bytes[skipped..skipped + length]))
    }
}

/// Why an attempt moved nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The source has nothing now.
    Readable,
    /// The receiving side takes nothing now.
    Writable,
    /// The bytes are not in memory, and the caller wants to know.
    Worker,
    /// The kernel has not yet released what it was lent.
    Release,
    /// Anything else, which may be a refusal of this via.
    Refused(Errno),
    /// A plain read or write failed, as it would for every via.
    Failed(Errno),
    /// The via could not be set up: no mapping, no pipe, no descriptor of its own. No byte was
    /// touched, so whatever the errno is, it falls back.
    Unavailable(Errno),
}

impl Stop {
    /// The error, if it is one.
    pub(crate) fn errno(self) -> Option<Errno> {
        match self {
            Self::Refused(errno) | Self::Failed(errno) | Self::Unavailable(errno) => Some(errno),
            Self::Readable | Self::Writable | Self::Worker | Self::Release => None,
        }
    }

    /// What an errno of a read means.
    pub(crate) fn reading(errno: Errno) -> Self {
        if errno == Errno::AGAIN { Self::Readable } else { Self::Refused(errno) }
    }

    /// What an errno of a write means.
    pub(crate) fn writing(errno: Errno) -> Self {
        if errno == Errno::AGAIN { Self::Writable } else { Self::Refused(errno) }
    }

    /// What an errno of a write means that asks the kernel for nothing but to write.
    pub(crate) fn writing_plainly(errno: Errno) -> Self {
        if errno == Errno::AGAIN { Self::Writable } else { Self::Failed(errno) }
    }
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Self::Refused(errno)
    }
}

/// How far one step came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many bytes left; there may be more to go. It is 0 if signals interrupted every call of
    /// the step (`EINTR`): step again, unless the signal asks for something else.
    Moved(u64),
    /// The source has nothing now: step again when it is readable.
    ///
    /// On a blocking socket it means that `SO_RCVTIMEO` ran out (socket(7)).
    NeedsReadable,
    /// The receiving side takes nothing now: step again when it is writable.
    ///
    /// On a blocking socket it means that `SO_SNDTIMEO` ran out (socket(7)).
    NeedsWritable,
    /// The bytes are not in memory, so the step would wait for a disk. Let somebody who may wait
    /// [warm](crate::ColdPart::warm) them, then step again. Only with
    /// [`Cold::Tell`](crate::Cold::Tell). Where the same part is cold again after it was warmed
    /// three times, nothing stays in memory; then the transfer waits for the disk itself.
    NeedsWorker,
    /// All bytes have been sent, or as many as may be at once, but the socket still refers to
    /// memory of the transfer: step
    /// again when its error queue has news (`POLLERR`, which every poller reports unasked). Only
    /// by [`Via::Zerocopy`](crate::Via::Zerocopy).
    NeedsRelease,
    /// All bytes have been handed to the kernel.
    Done,
    /// The source ended before the range did. What went out cannot be completed.
    Truncated {
        /// How many of the promised bytes do not exist.
        missing: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_is_cut_to_what_is_asked_for() {
        let edit = Edit { offset: 10, bytes: Arc::from(&b"abcdef"[..]) };
        assert_eq!(edit.within(0, 20), Some((10, &b"abcdef"[..])));
        assert_eq!(edit.within(12, 2), Some((0, &b"cd"[..])));
        assert_eq!(edit.within(5, 7), Some((5, &b"ab"[..])));
        assert_eq!(edit.within(15, 9), Some((0, &b"f"[..])));
        assert_eq!(edit.within(0, 10), None);
        assert_eq!(edit.within(16, 10), None);
    }
}
