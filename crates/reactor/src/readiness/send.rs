//! Sending on a readiness model: a step of the outbox, and the reason why the next one has to wait.

use karez_transfer::{Outbox, PageIn, Progress};
use std::os::fd::BorrowedFd;

use crate::selector::Interest;
use crate::task::SendError;

/// The state of sending.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SendState {
    blocked_on: BlockedOn,
}

/// The reason why sending is blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BlockedOn {
    /// The send buffer of the socket is full.
    Writable,
    /// The socket still refers to memory of the outbox (`MSG_ZEROCOPY`).
    ZerocopyCompletion,
    /// A worker thread, or the kernel, reads from the disk.
    PageIn,
}

/// The result of a step.
pub(crate) enum SendStep {
    Moved(u64),
    Blocked,
    /// These pages have to be read by a thread that may block.
    PageIn(PageIn),
    Failed(SendError),
}

impl SendState {
    /// Returns the interest to watch its socket for. A zero-copy completion arrives in the error queue,
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

    pub(crate) fn step(&mut self, outbox: &mut Outbox, out: BorrowedFd<'_>) -> SendStep {
        self.blocked_on = BlockedOn::Writable;
        match outbox.step(out) {
            Ok(Progress::Moved(bytes)) => SendStep::Moved(bytes),
            Ok(Progress::Done) => SendStep::Moved(0),
            // An outbox has no source that it could wait for.
            Ok(Progress::NeedsWritable | Progress::NeedsReadable) => SendStep::Blocked,
            Ok(Progress::NeedsZerocopyCompletion) => {
                self.blocked_on = BlockedOn::ZerocopyCompletion;
                SendStep::Blocked
            }
            Ok(Progress::NeedsWorker) => self.page_in(outbox),
            Ok(Progress::Truncated { missing }) => {
                SendStep::Failed(SendError::Truncated { missing })
            }
            Err(error) => SendStep::Failed(SendError::Failed(error)),
        }
    }

    fn page_in(&mut self, outbox: &mut Outbox) -> SendStep {
        match outbox.page_in() {
            Some(part) => {
                self.blocked_on = BlockedOn::PageIn;
                SendStep::PageIn(part)
            }
            None => {
                outbox.block_on_misses();
                SendStep::Moved(0)
            }
        }
    }
}

impl Default for SendState {
    fn default() -> Self {
        Self { blocked_on: BlockedOn::Writable }
    }
}
