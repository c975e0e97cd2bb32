//! io_uring(7): receives stand, sends and reads are handed over in batches, one call a turn does
//! all of it.
//!
//! Linux 5.11 at least; multishot accept and provided buffers since 5.19, multishot receive since
//! 6.0, deferred task work since 6.1. A small file is read and sent by two linked entries; by
//! `splice` pages go through a pipe; by `zerocopy` (`SEND_ZC`, 6.0) the socket refers to the buffer
//! that the file was read into. Names that a job would wait for are opened in the ring, too, but no
//! others: threads of the kernel do every `statx` there (`sys/examples/names_in_ring.rs`).
//!
//! What it does badly: it is refused in many containers (`EPERM`); it has no sendfile, so other vias
//! are `copy`; a splice holds a thread of the kernel for a moment where a reader is slow, and a local name
//! or any read that hangs one of a few (four a CPU and reactor) for ever, behind which names and cold files
//! of other devices wait; a send that waits holds its buffer, up to 48 KiB; a closed
//! connection keeps its descriptor until the next turn; and a multishot accept takes no address
//! along, which costs a getpeername(2) a connection.

use karez_sys::{Completion, Key, Operation, Ring, RingOptions};
use karez_transfer::Via;
use rustix::io;
use std::time::Duration;

use crate::driver::Completer;

/// io_uring.
#[derive(Debug)]
pub(crate) struct Uring(Ring);

impl Completer for Uring {
    const LINKS: bool = true;
    const SERIALISES: bool = false;
    const ACCEPTS_WAIT: bool = true;
    const HIDES: bool = false;
    const SENDS_BLOCK: bool = false;
    const LOOKS_UP: bool = true;

    fn grants(via: Via) -> Via {
        match via {
            Via::Splice | Via::Zerocopy => via,
            _ => Via::Copy,
        }
    }

    fn new() -> io::Result<Self> {
        Ring::new(RingOptions::default()).map(Self)
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
