//! POSIX AIO of glibc (aio(7)): every operation is a thread of glibc's that makes a blocking call,
//! and a real-time signal when it is through.
//!
//! Since glibc 2.1. Signals are turned into numbers in a pipe, and poll(2) waits for that pipe, the
//! listeners and the waker. Uses `SIGRTMIN + 2`. Not on musl.
//!
//! What it does badly: a receive that stands is a thread, so an idle connection costs one, and its
//! buffer, as with `blocking`. Requests for one descriptor number wait for each other, so that a
//! receive that stands would hold up every send: each connection has two numbers (dup(2)), one for
//! each direction. A running write cannot be cancelled, so it waits for a moment
//! only (`SO_SNDTIMEO`) and poll(2) for the rest, and a connection is ended by shutting it down. There is no `MSG_MORE`, so a head
//! leaves with the first 48 KiB of its file; every via is `copy`. And the signals interrupt
//! whatever thread they find.

use karez_sys::{Completion, Key, Operation, PosixAio as Aio};
use karez_transfer::Via;
use rustix::io;
use std::time::Duration;

use crate::driver::Completer;

/// glibc's threads.
#[derive(Debug)]
pub(crate) struct PosixAio(Aio);

impl Completer for PosixAio {
    const LINKS: bool = false;
    const SERIALISES: bool = true;
    const ACCEPTS_WAIT: bool = false;
    // A thread has read, and has not told glibc so far.
    const HIDES: bool = true;
    const SENDS_BLOCK: bool = true;
    const LOOKS_UP: bool = false;

    fn grants(_: Via) -> Via {
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

    fn abort(&mut self, key: Key) {
        self.0.abort(key);
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Completion>) -> io::Result<()> {
        self.0.wait(timeout, done)
    }
}
