//! What may block, on its way to the pool, and the way back.

use karez_transfer::{ColdPart, Device};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::demultiplexer::Token;
use crate::inbox::{Inbox, Letter};
use crate::pool::Admit;
use crate::task::Job;

/// What may block.
pub(crate) enum Errand<J> {
    /// A task's.
    Job(J),
    /// A connection's own: what it has to send is on a disk only.
    Warm(ColdPart),
}

impl<J: Job> Errand<J> {
    /// The device whose answer it waits for.
    pub(crate) fn device(&self) -> Device {
        match self {
            Self::Job(job) => job.device(),
            Self::Warm(part) => part.device(),
        }
    }

    /// A page-in is of an answer that has begun, which only its own deadline ends.
    pub(crate) fn admit(&self) -> Admit {
        match self {
            Self::Job(_) => Admit::Bounded,
            Self::Warm(_) => Admit::Always,
        }
    }
}

/// An errand, whose it is, and where that one lives.
pub(crate) struct Order<J: Job> {
    pub(crate) errand: Errand<J>,
    pub(crate) token: Token,
    /// Which of its connection's: the result of one that timed out is not taken for the next one's.
    pub(crate) serial: u32,
    pub(crate) inbox: Arc<Inbox<J::Done>>,
}

impl<J: Job> Order<J> {
    /// Does it and leaves word of it.
    pub(crate) fn perform(self) {
        let Self { errand, token, serial, inbox } = self;
        inbox.post(match errand {
            // A job that panics is as good as one that never ends; its connection must not wait.
            Errand::Job(job) => match catch_unwind(AssertUnwindSafe(|| job.run())) {
                Ok(done) => Letter::Worked(token, serial, done),
                Err(_) => Letter::Lost(token, serial),
            },
            Errand::Warm(part) => {
                // What the disk refuses now it refuses the one who sends, too, and that one tells.
                let _refused = part.warm();
                Letter::Warmed(token, serial)
            }
        });
    }
}

/// Does a job on the spot: where there is no pool, everybody waits for it. The one place at which
/// a reactor blocks.
pub(crate) fn run_here<J: Job>(job: J) -> J::Done {
    job.run()
}
