//! The listeners of an event loop on a completion model.

use karez_sys::{Key, Operation};
use std::mem;

use crate::driver::Driver;
use crate::event_loop::core::LISTENER;
use crate::listener::Listener;

/// The listeners of an event loop.
pub(super) struct ArmedListeners {
    armed: Vec<ArmedListener>,
    /// Nothing is accepted any more.
    retired: bool,
}

/// A listener, and the operation that accepts from it.
struct ArmedListener {
    listener: Listener,
    accept: Option<Key>,
    /// It accepts one connection after the other by itself.
    many: bool,
}

impl ArmedListeners {
    pub(super) fn new(listeners: Vec<Listener>) -> Self {
        let armed = |listener| ArmedListener { listener, accept: None, many: false };
        Self { armed: listeners.into_iter().map(armed).collect(), retired: false }
    }

    /// Starts to accept on every listener. An operation that accepts many connections takes as many as wait before
    /// it could be cancelled, and with them descriptors; so where there is no place for `many`, it accepts one.
    pub(super) fn arm(&mut self, many: bool, driver: &mut impl Driver) {
        for (armed, number) in self.armed.iter_mut().zip(0..) {
            match armed.accept {
                None if !self.retired => {
                    let listener = armed.listener.handle();
                    let operation = match many {
                        true => Operation::Accept(listener),
                        false => Operation::AcceptOne(listener),
                    };
                    armed.accept = Some(driver.start(LISTENER - number, operation));
                    armed.many = many;
                }
                Some(key) if armed.many && !many => {
                    armed.many = false;
                    driver.cancel(key);
                }
                _ => {}
            }
        }
    }

    /// Returns the listener of a completion with this tag; `last` says that its operation is over.
    pub(super) fn completed(&mut self, tag: u64, last: bool) -> Option<&Listener> {
        let armed = self.armed.get_mut(usize::try_from(LISTENER - tag).ok()?)?;
        if last {
            armed.accept = None;
        }
        Some(&armed.listener)
    }

    /// Cancels all accepts.
    pub(super) fn disarm(&self, driver: &mut impl Driver) {
        for key in self.armed.iter().filter_map(|armed| armed.accept) {
            driver.cancel(key);
        }
    }

    /// Cancels all accepts, and starts no other.
    pub(super) fn retire(&mut self, driver: &mut impl Driver) {
        self.disarm(driver);
        self.retired = true;
    }

    /// Returns whether nothing is accepted any more, and all that was has arrived.
    pub(super) fn are_done(&self) -> bool {
        self.retired && self.armed.iter().all(|armed| armed.accept.is_none())
    }

    /// Cancels all accepts and closes the listeners.
    pub(super) fn close(&mut self, driver: &mut impl Driver) {
        self.disarm(driver);
        drop(mem::take(&mut self.armed));
    }
}
