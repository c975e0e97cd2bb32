//! io_uring(7): receives stay in flight, sends and reads are submitted in batches, one call a turn does
//! all of it.
//!
//! Linux 5.11 at least; multishot accept and provided buffers since 5.19, multishot receive since
//! 6.0, deferred task work since 6.1. A small file is read and sent by two linked entries; by
//! `splice` pages are moved through a pipe; by `zerocopy` (`SEND_ZC`, 6.0) the socket refers to the buffer
//! that the file was read into. Files for which a job would wait are opened in the ring, too, but no
//! others: threads of the kernel do every `statx` there (`sys/examples/names_in_ring.rs`).
//!
//! # Limitations
//!
//! It is refused in many containers (`EPERM`). It has no sendfile, so other vias are `copy`. A splice
//! holds a thread of the kernel for a moment where a reader is slow, and a local name or any read that
//! hangs holds one of a few (four a CPU and reactor) for ever, behind which names and cold files of other
//! devices wait. After a full socket up to 48 KiB that were read are read again. A closed connection keeps its
//! descriptor until the next turn. A multishot accept returns no address, which costs a getpeername(2) a
//! connection.

use karez_sys::{Completion, Key, Operation, Ring, RingOptions, SharedFd};
use karez_transfer::Via;
use rustix::io::{self, Errno, ioctl_fionbio};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use crate::driver::{Driver, DriverSocket};
use crate::send_limit;

/// io_uring.
#[derive(Debug)]
pub(crate) struct Uring(Ring);

impl Driver for Uring {
    const LINKED_READ_SEND: bool = true;
    const ASYNC_OPEN: bool = true;

    type Socket = UringSocket;

    fn supported_via(via: Via) -> Via {
        match via {
            Via::Splice | Via::Zerocopy => via,
            _ => Via::Copy,
        }
    }

    fn new() -> io::Result<Self> {
        Ring::new(RingOptions::default()).map(Self)
    }

    fn start(&mut self, tag: u64, operation: Operation) -> Key {
        if let Operation::Accept(listener) | Operation::AcceptOne(listener) = &operation {
            // An accept waits in the kernel only on a listener that blocks; else it ends by EAGAIN.
            let _refused = ioctl_fionbio((**listener).as_fd(), false);
        }
        self.0.start(tag, operation)
    }

    fn cancel(&mut self, key: Key) {
        self.0.cancel(key);
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Completion>) -> io::Result<()> {
        self.0.wait(timeout, done)
    }
}

/// A socket in a ring: one descriptor for both directions.
pub(crate) struct UringSocket {
    socket: SharedFd,
    sends_limited: bool,
}

impl DriverSocket for UringSocket {
    fn new(socket: OwnedFd) -> Result<Self, (Errno, OwnedFd)> {
        Ok(Self { socket: Arc::new(socket), sends_limited: false })
    }

    fn receiver(&self) -> &SharedFd {
        &self.socket
    }

    fn sender(&self) -> &SharedFd {
        &self.socket
    }

    fn limit_sends(&mut self) {
        if !self.sends_limited {
            // Without the limit a splice lasts until the peer reads or the connection ends.
            let _refused = send_limit::limit((*self.socket).as_fd());
            self.sends_limited = true;
        }
    }

    /// The completions of a turn are handled before an idle connection is looked for.
    fn end_receiving(&self) -> bool {
        true
    }

    /// Every operation of a ring can be cancelled.
    fn abort(&self, _reset: bool) {}
}
