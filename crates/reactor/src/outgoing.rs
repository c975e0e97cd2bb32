//! An open wish to send: the outbox, since when nothing moved, and what it waits for.

use karez_transfer::{ColdPart, Outbox, Progress};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use crate::demultiplexer::Interest;
use crate::task::Obstacle;

pub(crate) struct Outgoing {
    pub(crate) outbox: Outbox,
    stall: Duration,
    since: Instant,
    waits_for: Wait,
}

/// Who else can do what would block. Reads of remote files are always left to a worker.
#[derive(Clone, Copy)]
pub(crate) struct Others {
    /// A pool: everything.
    pub(crate) pool: bool,
    /// The model: reads past the page cache.
    pub(crate) reads: bool,
}

/// What it waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// The socket takes nothing now.
    Room,
    /// The socket still refers to memory of the outbox (`MSG_ZEROCOPY`).
    Release,
    /// Somebody reads from the disk.
    Warmth,
}

/// What came of one step.
pub(crate) enum Step {
    Moved(u64),
    Wait,
    /// This has to be warmed by somebody who may wait.
    Warm(ColdPart),
    Sent,
    Unsent(Obstacle),
}

impl Outgoing {
    /// Where somebody else can read, the reactor waits for no disk.
    pub(crate) fn new(mut outbox: Outbox, stall: Duration, others: Others, now: Instant) -> Self {
        match others {
            Others { pool: true, .. } => outbox.tell_cold(),
            Others { reads, .. } => {
                if reads {
                    outbox.tell_direct();
                }
                outbox.tell_remote();
            }
        }
        Self { outbox, stall, since: now, waits_for: Wait::Room }
    }

    /// When to give up.
    pub(crate) fn until(&self) -> Instant {
        self.since + self.stall
    }

    /// What its socket has to be watched for. That memory was released is told on the error queue,
    /// which wakes readers on every model, select(2) included.
    pub(crate) fn wanted(&self) -> Interest {
        match self.waits_for {
            Wait::Room => Interest::WRITE,
            Wait::Release => Interest::READ,
            Wait::Warmth => Interest::HANG_UP,
        }
    }

    /// Whether any report of its socket may mean that it can go on.
    pub(crate) fn waits_for_release(&self) -> bool {
        self.waits_for == Wait::Release
    }

    /// Whether somebody reads for it; till then there is nothing to step.
    pub(crate) fn waits_for_warmth(&self) -> bool {
        self.waits_for == Wait::Warmth
    }

    /// What was cold has been read, or cannot be, which the next step finds out.
    pub(crate) fn warmed(&mut self) {
        self.waits_for = Wait::Room;
    }

    /// Nobody else can read it now.
    pub(crate) fn wait_for_disk(&mut self) {
        self.outbox.wait_for_disk();
        self.waits_for = Wait::Room;
    }

    pub(crate) fn step(&mut self, out: BorrowedFd<'_>) -> Step {
        self.waits_for = Wait::Room;
        match self.outbox.step(out) {
            Ok(Progress::Moved(bytes)) => {
                if bytes > 0 {
                    // Not the time of the turn, in whose middle the process may have been stopped.
                    self.since = Instant::now();
                }
                Step::Moved(bytes)
            }
            // An outbox has no source that could be waited for.
            Ok(Progress::NeedsWritable | Progress::NeedsReadable) => Step::Wait,
            Ok(Progress::NeedsRelease) => {
                self.waits_for = Wait::Release;
                Step::Wait
            }
            Ok(Progress::NeedsWorker) => self.cold(),
            Ok(Progress::Done) => Step::Sent,
            Ok(Progress::Truncated { missing }) => Step::Unsent(Obstacle::Truncated { missing }),
            Err(error) => Step::Unsent(Obstacle::Failed(error)),
        }
    }

    fn cold(&mut self) -> Step {
        match self.outbox.cold_part() {
            Some(part) => {
                self.waits_for = Wait::Warmth;
                Step::Warm(part)
            }
            None => {
                self.outbox.wait_for_disk();
                Step::Moved(0)
            }
        }
    }
}
