//! A relay on a completion model: a receive and a send each way, whose buffers are their own. The
//! counterpart of [`Relay`](crate::readiness::Relay).
//!
//! # Limitations
//!
//! Bytes are copied out of one socket and into the other by the CPU, which splice(2) spares. Where a
//! relay ends early, bytes on their way are lost and the client's socket may be shut down (posix-aio), so
//! nothing more can be sent there.

use karez_sys::{Completion, Handle, Key, Operation, Outcome, Received};
use rustix::io::{self, Errno, fcntl_dupfd_cloexec, ioctl_fionbio};
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::context::Backend;
use crate::driver::Completer;
use crate::outlet::Outlet;

/// The most bytes that wait for a sink; then nothing more is received.
const MOST: usize = 64 << 10;

/// A socket, for receiving and for sending.
#[derive(Clone)]
pub(crate) struct Side {
    pub(crate) source: Handle,
    pub(crate) sink: Outlet,
}

pub(crate) struct Relay {
    client: Side,
    upstream: Side,
    to_upstream: Pump,
    to_client: Pump,
    stall: Duration,
    since: Instant,
}

/// One way.
#[derive(Default)]
struct Pump {
    receive: Option<Key>,
    send: Option<Key>,
    /// The sink took less than there was, so that room is waited for first.
    full: bool,
    waiting: Vec<u8>,
    /// The source has said all.
    ended: bool,
    /// And all of it has gone, the end included.
    over: bool,
    moved: u64,
}

impl Relay {
    /// # Errors
    /// What is no socket, or no descriptor for it.
    pub(crate) fn new<C: Completer>(
        client: Side,
        upstream: OwnedFd,
        stall: Duration,
        now: Instant,
    ) -> io::Result<Self> {
        ioctl_fionbio(&upstream, false)?;
        // Its own number for each direction, where the model needs that.
        let sink = C::SERIALISES.then(|| fcntl_dupfd_cloexec(&upstream, 0)).transpose()?;
        let source: Handle = Arc::new(upstream);
        let sink = sink.map_or_else(|| Arc::clone(&source), |sink| Arc::new(sink) as Handle);
        let upstream = Side { source, sink: Outlet::new(sink) };
        let (to_upstream, to_client) = (Pump::default(), Pump::default());
        Ok(Self { client, upstream, to_upstream, to_client, stall, since: now })
    }

    /// What the client said before: bytes, perhaps its end, and the receive that stands.
    pub(crate) fn begin_with(&mut self, bytes: Vec<u8>, ended: bool, receive: Option<Key>) {
        self.to_upstream.waiting = bytes;
        self.to_upstream.ended = ended;
        self.to_upstream.receive = receive;
    }

    /// When to give up.
    pub(crate) fn deadline(&self) -> Instant {
        self.since + self.stall
    }

    /// Bytes from the client, and bytes from the upstream.
    pub(crate) fn moved(&self) -> [u64; 2] {
        [self.to_upstream.moved, self.to_client.moved]
    }

    /// Begins what can be begun; true when both ways are over.
    pub(crate) fn advance<C: Completer>(&mut self, tag: u64, backend: &mut Backend<C>) -> bool {
        self.to_upstream.advance(tag, &self.client.source, &mut self.upstream.sink, backend);
        self.to_client.advance(tag, &self.upstream.source, &mut self.client.sink, backend);
        self.to_upstream.over && self.to_client.over
    }

    /// Takes what came of an operation, if it is one of these.
    ///
    /// # Errors
    /// The errno of a way that failed.
    pub(crate) fn complete<C: Completer>(
        &mut self,
        completion: Completion,
        now: Instant,
        backend: &mut Backend<C>,
    ) -> io::Result<()> {
        let Completion { key, last, outcome, .. } = completion;
        for pump in [&mut self.to_upstream, &mut self.to_client] {
            if pump.receive == Some(key)
                && let Outcome::Received(received) = outcome
            {
                if last {
                    pump.receive = None;
                }
                if received.is_ok() {
                    self.since = now;
                }
                return pump.received(received, backend);
            }
            if pump.send == Some(key) {
                pump.send = None;
                return match outcome {
                    Outcome::Sent { bytes, sent } => {
                        if sent.is_ok_and(|count| count > 0) {
                            self.since = now;
                        }
                        pump.sent(bytes, sent, backend)
                    }
                    _ => Ok(()), // there is room
                };
            }
        }
        Ok(())
    }

    /// Cancels what is in flight: it is over, in whatever way.
    pub(crate) fn abort<C: Completer>(&mut self, backend: &mut Backend<C>) {
        for pump in [&mut self.to_upstream, &mut self.to_client] {
            for key in [pump.receive.take(), pump.send.take()].into_iter().flatten() {
                backend.driver.abort(key);
            }
        }
    }
}

impl Pump {
    fn advance<C: Completer>(
        &mut self,
        tag: u64,
        source: &Handle,
        sink: &mut Outlet,
        backend: &mut Backend<C>,
    ) {
        if self.send.is_none() && mem::take(&mut self.full) {
            self.send = Some(backend.driver.start(tag, Operation::Writable(sink.handle())));
        }
        if self.send.is_none() && !self.waiting.is_empty() {
            if C::SENDS_BLOCK {
                sink.limit();
            }
            let bytes = mem::replace(&mut self.waiting, backend.buffers.pop().unwrap_or_default());
            self.waiting.clear();
            let socket = sink.handle();
            let send = Operation::Send { socket, bytes, from: 0, more: false, lend: false };
            self.send = Some(backend.driver.start(tag, send));
        }
        if self.ended {
            if self.send.is_none() && !mem::replace(&mut self.over, true) {
                sink.finish();
            }
        } else if self.receive.is_none() && self.waiting.len() < MOST {
            let receive = Operation::Receive(Arc::clone(source));
            self.receive = Some(backend.driver.start(tag, receive));
        }
    }

    fn received<C: Completer>(
        &mut self,
        received: io::Result<Received>,
        backend: &mut Backend<C>,
    ) -> io::Result<()> {
        match received {
            Ok(bytes) if bytes.is_empty() => self.ended = true,
            Ok(bytes) => {
                self.waiting.extend_from_slice(&bytes);
                if let Some(key) = self.receive
                    && self.waiting.len() >= MOST
                {
                    backend.driver.cancel(key);
                }
            }
            // It ended before its time, and is begun again when there is room.
            Err(Errno::NOBUFS | Errno::CANCELED | Errno::INTR | Errno::AGAIN) => {}
            Err(errno) => return Err(errno),
        }
        Ok(())
    }

    fn sent<C: Completer>(
        &mut self,
        mut bytes: Vec<u8>,
        sent: io::Result<usize>,
        backend: &mut Backend<C>,
    ) -> io::Result<()> {
        let count = match sent {
            Ok(count) => count,
            Err(Errno::INTR | Errno::AGAIN) => 0,
            Err(errno) => return Err(errno),
        };
        self.moved += count as u64;
        if count < bytes.len() {
            self.full = C::SENDS_BLOCK;
            bytes.drain(..count);
            bytes.append(&mut self.waiting);
            mem::swap(&mut bytes, &mut self.waiting);
        }
        backend.give_back(bytes);
        Ok(())
    }
}
