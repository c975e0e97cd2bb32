//! The outbox of a connection on its way: since when nothing moved, and what it waits for.

use karez_transfer::{ColdPart, Outbox, Progress};
use std::os::fd::BorrowedFd;
use std::time::Instant;

use crate::selector::Interest;
use crate::task::SendError;

/// What sending has come to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SendState {
    /// Since when nothing has moved.
    pub(crate) since: Instant,
    blocked_on: BlockedOn,
}

/// What it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BlockedOn {
    /// The socket takes nothing now.
    Writable,
    /// The socket still refers to memory of the outbox (`MSG_ZEROCOPY`).
    ZerocopyCompletion,
    /// A worker thread, or the kernel, reads from the disk.
    PageIn,
}

/// How a step came out.
pub(crate) enum Sent {
    Moved(u64),
    Blocked,
    /// These pages have to be read by a thread that may block.
    PageIn(ColdPart),
    Failed(SendError),
}

impl SendState {
    /// Returns what its socket has to be watched for. A released page is told by the error queue,
    /// which wakes readers on every model, select(2) included.
    pub(crate) fn wanted(&self) -> Interest {
        match self.blocked_on {
            BlockedOn::Writable => Interest::WRITE,
            BlockedOn::ZerocopyCompletion => Interest::READ,
            BlockedOn::PageIn => Interest::NONE,
        }
    }

    /// Returns whether any report of its socket may mean that it can go on.
    pub(crate) fn waits_for_zerocopy(&self) -> bool {
        self.blocked_on == BlockedOn::ZerocopyCompletion
    }

    /// Returns whether a page-in runs; till then there is nothing to step.
    pub(crate) fn waits_for_page_in(&self) -> bool {
        self.blocked_on == BlockedOn::PageIn
    }

    /// Notes that the pages have been read, or cannot be, which the next step finds out.
    pub(crate) fn page_in_done(&mut self) {
        self.blocked_on = BlockedOn::Writable;
    }

    pub(crate) fn step(&mut self, outbox: &mut Outbox, out: BorrowedFd<'_>) -> Sent {
        self.blocked_on = BlockedOn::Writable;
        match outbox.step(out) {
            Ok(Progress::Moved(bytes)) => {
                if bytes > 0 {
                    // Not the time of the turn, in whose middle the process may have been stopped.
                    self.since = Instant::now();
                }
                Sent::Moved(bytes)
            }
            Ok(Progress::Done) => Sent::Moved(0),
            // An outbox has no source that could be waited for.
            Ok(Progress::NeedsWritable | Progress::NeedsReadable) => Sent::Blocked,
            Ok(Progress::NeedsRelease) => {
                self.blocked_on = BlockedOn::ZerocopyCompletion;
                Sent::Blocked
            }
            Ok(Progress::NeedsWorker) => self.page_in(outbox),
            Ok(Progress::Truncated { missing }) => Sent::Failed(SendError::Truncated { missing }),
            Err(error) => Sent::Failed(SendError::Failed(error)),
        }
    }

    fn page_in(&mut self, outbox: &mut Outbox) -> Sent {
        match outbox.cold_part() {
            Some(part) => {
                self.blocked_on = BlockedOn::PageIn;
                Sent::PageIn(part)
            }
            None => {
                outbox.wait_for_disk();
                Sent::Moved(0)
            }
        }
    }
}

impl Default for SendState {
    fn default() -> Self {
        Self { since: Instant::now(), blocked_on: BlockedOn::Writable }
    }
}
