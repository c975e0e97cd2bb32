//! The listeners of an event loop on a readiness model.

use std::mem;

use crate::listener::Listener;

/// The listeners of an event loop.
pub(super) struct Listeners {
    pub(super) states: Vec<ListenerState>,
    /// The selector watches the listeners.
    pub(super) watched: bool,
}

/// A listener, and whether a connection may wait in its backlog.
pub(super) struct ListenerState {
    pub(super) listener: Listener,
    pub(super) ready: bool,
}

impl Listeners {
    pub(super) fn new(listeners: Vec<Listener>) -> Self {
        let ready = |listener| ListenerState { listener, ready: true };
        Self { states: listeners.into_iter().map(ready).collect(), watched: true }
    }

    /// Returns whether a connection could be accepted at once.
    pub(super) fn is_ready(&self) -> bool {
        self.states.iter().any(|state| state.ready)
    }

    /// Remembers a report of the selector.
    pub(super) fn set_ready(&mut self, number: usize) {
        if let Some(state) = self.states.get_mut(number) {
            state.ready = true;
        }
    }

    /// Takes all listeners, to be deregistered and closed.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Listener> {
        mem::take(&mut self.states).into_iter().map(|state| state.listener)
    }
}
