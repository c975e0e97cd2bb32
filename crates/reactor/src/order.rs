//! A job on its way to the pool, and the way back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::demultiplexer::Token;
use crate::inbox::{Inbox, Letter};
use crate::task::Job;

/// A job, whose it is, and where that one lives.
pub(crate) struct Order<J: Job> {
    pub(crate) job: J,
    pub(crate) token: Token,
    pub(crate) inbox: Arc<Inbox<J::Done>>,
}

impl<J: Job> Order<J> {
    /// Does the job and leaves word of it.
    pub(crate) fn perform(self) {
        let Self { job, token, inbox } = self;
        // A job that panics is as good as one that never ends; its connection must not wait.
        let letter = match catch_unwind(AssertUnwindSafe(|| job.run())) {
            Ok(done) => Letter::Worked(token, done),
            Err(_) => Letter::Lost(token),
        };
        inbox.post(letter);
    }
}
