//! What may block, on its way to the pool, and the way back.

use karez_transfer::{ColdPart, Tag};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::io::JobId;
use crate::selector::Token;
use crate::sync::inbox::{Inbox, Notification};
use crate::task::{Job, JobPanicked};

/// Work that may block.
pub(crate) enum Offload<J> {
    /// A job of a task.
    Job(JobId, J),
    /// Pages that a connection has to send and that are not in memory: of units with this tag, or of
    /// the file in front of its outbox.
    PageIn(Option<Tag>, ColdPart),
}

/// Work, the connection that waits for it, and the event loop of that.
pub(crate) struct PoolTask<J: Job> {
    pub(crate) offload: Offload<J>,
    pub(crate) token: Token,
    pub(crate) inbox: Arc<Inbox<J::Done>>,
}

impl<J: Job> PoolTask<J> {
    /// Runs it and notifies the event loop.
    pub(crate) fn run(self) {
        let Self { offload, token, inbox } = self;
        inbox.push(match offload {
            Offload::Job(id, job) => {
                let done = catch_unwind(AssertUnwindSafe(|| job.run()));
                Notification::JobDone(token, id, done.map_err(|_| JobPanicked))
            }
            Offload::PageIn(tag, part) => {
                // What the disk refuses now it refuses the next step, too, and that one reports it.
                let _refused = part.warm();
                Notification::PageInDone(token, tag)
            }
        });
    }
}

/// Runs a job on the spot: where there is no pool, all connections wait for it. The one place at which
/// an event loop blocks.
pub(crate) fn run_inline<J: Job>(job: J) -> J::Done {
    job.run()
}
