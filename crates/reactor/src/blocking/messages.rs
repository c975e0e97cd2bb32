//! Messages for a task on model blocking: its thread waits in poll(2) for its socket and for the waker of
//! its queue, an eventfd of its own.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::sync::mailbox::{Envelope, MessageQueue};
use crate::sync::waker::Waker;

/// The messages of the one task of this thread.
pub(super) struct Messages<M> {
    queue: Arc<MessageQueue<M>>,
    taken: VecDeque<Envelope<M>>,
}

impl<M> Messages<M> {
    pub(super) fn new(queue: Arc<MessageQueue<M>>) -> Self {
        Self { queue, taken: VecDeque::new() }
    }

    /// Returns the next message, if there is one.
    pub(super) fn next(&mut self) -> Option<M> {
        if self.taken.is_empty() {
            self.taken.extend(self.queue.drain().into_iter().map(|(_, envelope)| envelope));
        }
        self.taken.pop_front().map(Envelope::open)
    }

    /// Returns the waker that poll(2) has to wait for.
    pub(super) fn waker(&self) -> &Waker {
        self.queue.waker()
    }
}
