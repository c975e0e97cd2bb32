//! The contract of a completion model: three operations, its sockets and its capabilities.
//!
//! 1. An operation owns its buffer and holds its descriptors until its last completion, even if the
//!    connection is closed by then.
//! 2. Every operation completes with a result, also a cancelled one.
//! 3. Sockets block: an operation waits in the kernel, or in a thread. A send that ends by `EAGAIN` has
//!    found no room; the caller waits for it by [`Operation::Writable`].

use karez_sys::{Completion, Key, Operation, SharedFd};
use karez_transfer::Via;
use rustix::io::{self, Errno};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// A completion model.
pub(crate) trait Driver: Sized {
    /// Reads a file and sends the bytes in one operation.
    const LINKED_READ_SEND: bool;

    /// Opens files without a thread of this process that waits.
    const ASYNC_OPEN: bool;

    /// The sockets of connections.
    type Socket: DriverSocket;

    /// Returns the via by which a file is moved where `via` was asked for.
    fn supported_via(via: Via) -> Via;

    /// Sets the model up. It belongs to the calling thread.
    ///
    /// # Errors
    /// As the calls that the model is named after.
    fn new() -> io::Result<Self>;

    /// Starts an operation, at the latest when [`wait`](Self::wait) is called. Its completions have this
    /// `tag`.
    fn start(&mut self, tag: u64, operation: Operation) -> Key;

    /// Asks for an early end of an operation.
    fn cancel(&mut self, key: Key);

    /// Waits until something is complete, the time is up, or a signal comes, and appends the
    /// completions to `done`.
    ///
    /// # Errors
    /// After a transient error (`ENOMEM`, `EBUSY`, `EAGAIN`) the next call may succeed.
    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Completion>) -> io::Result<()>;
}

/// A connected socket, as the operations of a model need it.
pub(crate) trait DriverSocket: Sized {
    /// Takes over a socket that blocks.
    ///
    /// # Errors
    /// The errno and the socket: the model needs another descriptor, and there is none.
    fn new(socket: OwnedFd) -> Result<Self, (Errno, OwnedFd)>;

    /// Returns the socket for operations that receive.
    fn receiver(&self) -> &SharedFd;

    /// Returns the socket for operations that send.
    fn sender(&self) -> &SharedFd;

    /// Bounds the time for which a send blocks a thread, before a splice.
    fn limit_sends(&mut self);

    /// Prepares an idle connection for its eviction; false if bytes may have been received that are not
    /// visible yet: the receive in flight then completes soon, with them or with the end of the stream.
    fn end_receiving(&self) -> bool;

    /// Ends the operations that are in flight and cannot be cancelled: the connection is closed. With `reset` the peer must
    /// not see a regular end.
    fn abort(&self, reset: bool);
}
