//! Results of jobs and messages that a task has not handled: two queues in a box, which exists while one
//! of them is not empty, so that an idle connection pays 8 bytes for both.

use std::collections::VecDeque;

use crate::io::JobId;
use crate::sync::mailbox::Envelope;
use crate::task::{Job, JobError, Task};

/// A job that is done, and its result.
pub(crate) type JobResult<J> = (JobId, Result<<J as Job>::Done, JobError>);

/// The events that a task is going to handle.
pub(crate) struct Pending<T: Task>(Option<Box<Queues<T>>>);

struct Queues<T: Task> {
    results: VecDeque<JobResult<T::Job>>,
    messages: VecDeque<Envelope<T::Message>>,
}

impl<T: Task> Pending<T> {
    pub(crate) fn push_result(&mut self, result: JobResult<T::Job>) {
        self.0.get_or_insert_default().results.push_back(result);
    }

    pub(crate) fn push_message(&mut self, message: Envelope<T::Message>) {
        self.0.get_or_insert_default().messages.push_back(message);
    }

    pub(crate) fn next_result(&mut self) -> Option<JobResult<T::Job>> {
        let result = self.0.as_mut()?.results.pop_front();
        self.drop_if_empty();
        result
    }

    pub(crate) fn next_message(&mut self) -> Option<Envelope<T::Message>> {
        let message = self.0.as_mut()?.messages.pop_front();
        self.drop_if_empty();
        message
    }

    fn drop_if_empty(&mut self) {
        self.0.take_if(|queues| queues.results.is_empty() && queues.messages.is_empty());
    }
}

impl<T: Task> Default for Pending<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Task> Default for Queues<T> {
    fn default() -> Self {
        Self { results: VecDeque::new(), messages: VecDeque::new() }
    }
}
