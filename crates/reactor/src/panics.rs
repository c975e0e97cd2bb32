//! Containing panics: one in a task ends its own connection, by a reset, and the event loop goes on.
//!
//! What a panic has interrupted may be half done, so it is discarded: the connection with its outbox, its
//! requests, and the state that the tasks of an event loop share ([`Local`](crate::Local)), which is made anew. No
//! lock is poisoned: each of this crate recovers the value. A panic outside of a task closes all connections of its
//! event loop, which keeps its listeners; one in each of several turns in a row ends it.
//!
//! A panic is reported by the process's panic hook (`std::panic::set_hook`), on the thread in which it happens.
//!
//! # Limitations
//!
//! A program that aborts on a panic (`panic = "abort"`) ends as before. So does a destructor that panics while
//! another panic unwinds.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Turns in a row that may panic before the event loop ends.
pub(crate) const MAX_IN_A_ROW: u32 = 8;

/// Returns the result of `work`; `None` if it panics. The caller discards what the work has changed.
pub(crate) fn contain<R>(work: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => Some(result),
        Err(payload) => {
            // The payload may be of any type, whose destructor may panic.
            let _payload_of_payload = catch_unwind(AssertUnwindSafe(|| drop(payload)));
            None
        }
    }
}
