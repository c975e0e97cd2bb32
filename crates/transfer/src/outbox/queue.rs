//! The queue of an outbox: its segments, open files and events, pooled per thread.
//!
//! An outbox has a queue only while there is something in it, so that an idle connection holds none, and
//! a response costs no allocation: the queue that another connection has given back is used again.
//!
//! # Limitations
//!
//! With more busy connections than [`KEPT`] on a thread, each response may allocate.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};

use super::event::{Mark, OutboxEvent};
use super::segment::Segment;
use super::unit::Files;

/// The most idle queues in the pool of a thread, about half a KiB each.
const KEPT: usize = 256;

/// The most segments or events for which an idle queue keeps memory.
const KEPT_CAPACITY: usize = 16;

/// A box moves between the pool and its user.
type Pool = RefCell<Vec<Box<Queue>>>;

thread_local! {
    static IDLE: Pool = const { RefCell::new(Vec::new()) };
}

pub(super) struct Queue {
    pub(super) segments: VecDeque<Segment>,
    pub(super) files: Files,
    pub(super) events: VecDeque<OutboxEvent>,
    /// Marks in or before a record that has not been sent completely.
    pub(super) passed: Vec<Mark>,
}

/// An empty queue, which reads see where there is none.
const EMPTY: &Queue = &Queue {
    segments: VecDeque::new(),
    files: Files::new(),
    events: VecDeque::new(),
    passed: Vec::new(),
};

/// A queue of the pool, taken for the first change.
#[derive(Default)]
pub(super) struct PooledQueue(Option<Box<Queue>>);

impl PooledQueue {
    /// Returns whether there is a queue, which may be empty.
    pub(super) fn is_taken(&self) -> bool {
        self.0.is_some()
    }

    /// Returns the queue, if there is one.
    pub(super) fn get_mut(&mut self) -> Option<&mut Queue> {
        self.0.as_deref_mut()
    }

    /// Gives the queue back if it is empty.
    pub(super) fn release(&mut self) {
        if let Some(queue) = self.0.take_if(|queue| queue.is_empty()) {
            give_back(queue);
        }
    }
}

impl Queue {
    fn is_empty(&self) -> bool {
        let idle = self.segments.is_empty() && self.events.is_empty() && self.passed.is_empty();
        idle && self.files.is_empty()
    }

    fn is_small(&self) -> bool {
        let most = self.segments.capacity().max(self.events.capacity());
        most <= KEPT_CAPACITY && self.passed.capacity() <= KEPT_CAPACITY
    }
}

/// Returns an empty queue to the pool. Its files are dropped with their table.
fn give_back(mut queue: Box<Queue>) {
    if queue.is_small() {
        queue.files = Files::new();
        // While the thread ends there is no pool.
        let _ended = IDLE.try_with(|idle| {
            let mut idle = idle.borrow_mut();
            if idle.len() < KEPT {
                idle.push(queue);
            }
        });
    }
}

fn take() -> Box<Queue> {
    let kept = IDLE.try_with(|idle| idle.borrow_mut().pop()).ok().flatten();
    kept.unwrap_or_else(|| {
        let (segments, events) = (VecDeque::new(), VecDeque::new());
        Box::new(Queue { segments, files: Files::new(), events, passed: Vec::new() })
    })
}

impl Deref for PooledQueue {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        self.0.as_deref().unwrap_or(EMPTY)
    }
}

impl DerefMut for PooledQueue {
    fn deref_mut(&mut self) -> &mut Queue {
        self.0.get_or_insert_with(take)
    }
}
