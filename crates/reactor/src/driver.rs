//! The contract of a completion model: three operations and its capabilities.
//!
//! 1. An operation owns its buffer and holds its descriptors until its last completion, even if the
//!    connection is closed by then.
//! 2. Every operation completes with a result, also a cancelled one.
//! 3. Sockets block: an operation waits in the kernel, or in a thread, and not by `EAGAIN`; but where
//!    [sends block](Completer::SENDS_BLOCK), and a splice, ends by it after a moment.

use karez_sys::{Completion, Key, Operation};
use karez_transfer::Via;
use rustix::io;
use std::time::Duration;

/// A completion model.
pub(crate) trait Completer: Sized {
    /// A read and the send of what was read may be one operation.
    const LINKS: bool;

    /// Operations on one descriptor wait for each other, so that each direction needs its own.
    const SERIALISES: bool;

    /// An accept waits in the kernel, so that listeners have to block.
    const ACCEPTS_WAIT: bool;

    /// Received bytes may be invisible for a while, neither in the socket nor completed, so an idle
    /// connection cannot be recognised.
    const HIDES: bool;

    /// A send is a blocking call in a thread and cannot be cancelled, so it has to be limited and
    /// room waited for by [`Operation::Writable`].
    const SENDS_BLOCK: bool;

    /// Names are looked up without a thread of ours that waits.
    const LOOKS_UP: bool;

    /// By which via a file is moved where this one was asked for.
    fn grants(via: Via) -> Via;

    /// Asks the kernel for what the model needs. The model is then this thread's.
    ///
    /// # Errors
    /// Whatever the kernel refuses it with.
    fn new() -> io::Result<Self>;

    /// Begins an operation, at the latest when [`wait`](Self::wait) is called. What comes of it is
    /// called `tag`.
    fn start(&mut self, tag: u64, operation: Operation) -> Key;

    /// Asks for an early end of an operation that the caller does without from now on.
    fn cancel(&mut self, key: Key);

    /// The same, whatever becomes of the socket: its connection is over.
    fn abort(&mut self, key: Key) {
        self.cancel(key);
    }

    /// Waits until something is complete, the time is up, or a signal comes, and appends what came
    /// to `done`.
    ///
    /// # Errors
    /// Of these the transient ones (`ENOMEM`, `EBUSY`, `EAGAIN`) may be gone at the next call.
    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Completion>) -> io::Result<()>;
}
