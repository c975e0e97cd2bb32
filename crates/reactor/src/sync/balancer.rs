//! Who gets the connections that a reactor accepts for others (topology multi).

use std::sync::Arc;

use crate::sync::inbox::Inbox;

/// The inboxes of the others; none where a reactor accepts for itself.
#[derive(Debug)]
pub(crate) struct LeastConnections<D> {
    inboxes: Vec<Arc<Inbox<D>>>,
    /// Whose turn it is among those of the same load.
    turn: usize,
}

impl<D> LeastConnections<D> {
    pub(crate) fn new(inboxes: Vec<Arc<Inbox<D>>>) -> Self {
        Self { inboxes, turn: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.inboxes.is_empty()
    }

    /// The one with the fewest connections; among equals they take turns.
    pub(crate) fn next(&mut self) -> Option<&Arc<Inbox<D>>> {
        let count = self.inboxes.len();
        self.turn = (self.turn + 1).checked_rem(count)?;
        let after = |number: usize| (number + count - self.turn) % count;
        let least =
            (0..count).min_by_key(|&number| (self.inboxes[number].load(), after(number)))?;
        self.inboxes.get(least)
    }
}
