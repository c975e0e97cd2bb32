//! Mailboxes: messages from any thread to a task.
//!
//! Each event loop has a queue, made when the first of its tasks asks for a [`Mailbox`], and is woken
//! by the waker that it has; a thread of model blocking gets a queue and a waker of its own. Messages
//! wait in a [wake queue](crate::sync::wake_queue), for which the event loop is woken once.
//!
//! # Limitations
//!
//! A message costs a lock, one to a sleeping event loop two system calls and perhaps a switch of
//! threads, also where both tasks live on the same. A message to a task whose connection is closed is
//! dropped without an error.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::named;
use crate::selector::Token;
use crate::sync::wake_queue::WakeQueue;
use crate::sync::waker::Waker;

/// The place of a connection: in its first event, [`Event::Opened`](crate::Event::Opened).
#[derive(Debug)]
pub struct Context<'a, M> {
    pub(crate) token: Token,
    pub(crate) queue: &'a mut Option<Arc<MessageQueue<M>>>,
    /// Wakes the event loop, if there is one.
    pub(crate) waker: Option<&'a Arc<Waker>>,
}

impl<M> Context<'_, M> {
    /// Returns a mailbox of the task.
    ///
    /// # Errors
    /// As eventfd(2): on model blocking each connection with a mailbox needs one.
    pub fn mailbox(self) -> io::Result<Mailbox<M>> {
        let queue = match (self.queue.take(), self.waker) {
            (Some(queue), _) => queue,
            (None, Some(waker)) => MessageQueue::new(Arc::clone(waker)),
            (None, None) => {
                MessageQueue::new(Arc::new(Waker::eventfd().map_err(named("eventfd"))?))
            }
        };
        *self.queue = Some(Arc::clone(&queue));
        Ok(Mailbox { queue, token: self.token, waiting: Arc::default() })
    }
}

/// Sends messages to a task, from any thread. Clones send to the same task.
pub struct Mailbox<M> {
    queue: Arc<MessageQueue<M>>,
    token: Token,
    waiting: Arc<AtomicUsize>,
}

impl<M> Mailbox<M> {
    /// The most messages that may wait for a task.
    pub const CAPACITY: usize = 256;

    /// Sends a message, delivered as [`Event::Message`](crate::Event::Message). From one sender to one
    /// task messages keep their order.
    ///
    /// # Errors
    /// The message itself: so many wait already that the task does not keep up.
    pub fn send(&self, message: M) -> Result<(), M> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= Self::CAPACITY {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(message);
        }
        let permit = Permit(Arc::clone(&self.waiting));
        self.queue.push(self.token, Envelope { message, permit });
        Ok(())
    }
}

impl<M> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        let (queue, waiting) = (Arc::clone(&self.queue), Arc::clone(&self.waiting));
        Self { queue, token: self.token, waiting }
    }
}

impl<M> fmt::Debug for Mailbox<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox")
            .field("token", &self.token)
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}

/// A message, and its permit to wait.
pub(crate) struct Envelope<M> {
    message: M,
    permit: Permit,
}

impl<M> Envelope<M> {
    /// Returns the message, and its permit.
    pub(crate) fn open(self) -> M {
        drop(self.permit);
        self.message
    }
}

/// Returned when it is dropped, delivered or not.
struct Permit(Arc<AtomicUsize>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Messages for the tasks of one event loop.
pub(crate) struct MessageQueue<M> {
    envelopes: WakeQueue<(Token, Envelope<M>)>,
    waker: Arc<Waker>,
}

impl<M> MessageQueue<M> {
    fn new(waker: Arc<Waker>) -> Arc<Self> {
        Arc::new(Self { envelopes: WakeQueue::new(), waker })
    }

    /// Returns the waker of the event loop.
    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    fn push(&self, token: Token, envelope: Envelope<M>) {
        self.envelopes.push((token, envelope), || self.waker.wake());
    }

    /// Takes all messages.
    pub(crate) fn drain(&self) -> Vec<(Token, Envelope<M>)> {
        let mut taken = Vec::new();
        self.envelopes.drain(&mut taken);
        taken
    }
}

impl<M> fmt::Debug for MessageQueue<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageQueue").field("waker", &self.waker).finish_non_exhaustive()
    }
}
