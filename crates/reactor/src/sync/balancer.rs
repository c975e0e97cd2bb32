//! Balancing by least connections: one event loop accepts for the sub-reactors (topology multi).

use std::sync::Arc;

use crate::sync::inbox::Inbox;

/// The inboxes of the sub-reactors; none where an event loop accepts for itself.
#[derive(Debug)]
pub(crate) struct LeastConnections<D> {
    inboxes: Vec<Arc<Inbox<D>>>,
    /// The next among sub-reactors of the same load.
    turn: usize,
}

impl<D> LeastConnections<D> {
    pub(crate) fn new(inboxes: Vec<Arc<Inbox<D>>>) -> Self {
        Self { inboxes, turn: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.inboxes.is_empty()
    }

    /// Returns the inbox with the fewest connections; among equals, round robin.
    pub(crate) fn next(&mut self) -> Option<&Arc<Inbox<D>>> {
        let count = self.inboxes.len();
        self.turn = (self.turn + 1).checked_rem(count)?;
        let after = |number: usize| (number + count - self.turn) % count;
        let least =
            (0..count).min_by_key(|&number| (self.inboxes[number].load(), after(number)))?;
        self.inboxes.get(least)
    }
}
