//! POSIX AIO of glibc (aio(7)): a thread of glibc makes a blocking call for each operation, and sends a
//! real-time signal when it has returned.
//!
//! Since glibc 2.1. Signals are turned into numbers in a pipe, and poll(2) waits for that pipe, the
//! listeners and the waker. Uses `SIGRTMIN + 2`. Not on musl.
//!
//! # Limitations
//!
//! A receive in flight is a thread and its buffer, so an idle connection costs as much as with
//! `blocking`. Requests for one descriptor number wait for each other, so that a receive in flight would
//! hold up every send: each connection has two numbers (dup(2)), one for each direction. A running write
//! cannot be cancelled, so it waits for a moment only (`SO_SNDTIMEO`) and poll(2) for the rest; a running
//! read ends when the socket is shut down or, for a reset, disconnected (connect(2) with `AF_UNSPEC`). Bytes that a thread has read are invisible until it has
//! notified this process, so an idle connection is shut down before it is evicted. There is no
//! `MSG_MORE`, so a head leaves with the first 48 KiB of its file; every via is `copy`. The signals
//! interrupt any thread of the process.

use karez_sys::{Completion, Key, Operation, PosixAio as Aio, SharedFd};
use karez_transfer::Via;
use rustix::io::{self, Errno, fcntl_dupfd_cloexec};
use rustix::net::{Shutdown, connect_unspec, shutdown};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use crate::driver::{Driver, DriverSocket};
use crate::send_limit;

/// POSIX AIO.
#[derive(Debug)]
pub(crate) struct PosixAio(Aio);

impl Driver for PosixAio {
    const LINKED_READ_SEND: bool = false;
    const ASYNC_OPEN: bool = false;

    type Socket = PosixAioSocket;

    fn supported_via(_: Via) -> Via {
        Via::Copy
    }

    fn new() -> io::Result<Self> {
        Aio::new().map(Self)
    }

    fn start(&mut self, tag: u64, operation: Operation) -> Key {
        self.0.start(tag, operation)
    }

    fn cancel(&mut self, key: Key) {
        self.0.cancel(key);
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Completion>) -> io::Result<()> {
        self.0.wait(timeout, done)
    }
}

/// A socket with a descriptor for each direction.
pub(crate) struct PosixAioSocket {
    receiver: SharedFd,
    sender: SharedFd,
}

impl DriverSocket for PosixAioSocket {
    fn new(socket: OwnedFd) -> Result<Self, (Errno, OwnedFd)> {
        match fcntl_dupfd_cloexec(&socket, 0) {
            Ok(sender) => {
                // Without the limit a send lasts until the peer reads or the connection ends.
                let _refused = send_limit::limit(socket.as_fd());
                Ok(Self { receiver: Arc::new(socket), sender: Arc::new(sender) })
            }
            Err(errno) => Err((errno, socket)),
        }
    }

    fn receiver(&self) -> &SharedFd {
        &self.receiver
    }

    fn sender(&self) -> &SharedFd {
        &self.sender
    }

    /// They are limited from the first.
    fn limit_sends(&mut self) {}

    /// A thread may have received bytes that are not reported yet.
    fn end_receiving(&self) -> bool {
        // A peer that has reset the connection has ended it already.
        let _closed = shutdown((*self.receiver).as_fd(), Shutdown::Read);
        false
    }

    fn abort(&self, reset: bool) {
        // It resets the connection at once, and wakes its threads. Linux 6.4 and 6.5 refuse it while threads wait.
        if reset && connect_unspec(&*self.receiver).is_ok() {
            return;
        }
        // A socket that is not connected any more has ended its threads already.
        let _closed = shutdown((*self.receiver).as_fd(), Shutdown::Both);
    }
}
