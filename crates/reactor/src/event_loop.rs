//! The part of an event loop that no backend changes: admission and eviction, accept back-off,
//! notifications, deadlines, the run queue and blocking work.
//!
//! A backend implements [`turns::EventLoop`]; the other files of this folder add methods to it.

pub(crate) mod acceptor;
pub(crate) mod admit;
pub(crate) mod core;
pub(crate) mod costly_queue;
pub(crate) mod overdue;
pub(crate) mod turns;
pub(crate) mod wakeup;
