//! A relay on a completion model: a receive and a send in flight in each direction. The counterpart of
//! [`SpliceRelay`](crate::readiness::relay::SpliceRelay).
//!
//! # Limitations
//!
//! Bytes are copied out of one socket and into the other by the CPU, which splice(2) spares. Where a
//! relay ends early, bytes in flight are lost and the client's socket may be shut down (posix-aio), so
//! nothing more can be sent there.

use karez_sys::{Completion, Key, Operation, Outcome, Received, SharedFd};
use rustix::io::{self, Errno, ioctl_fionbio};
use rustix::net::{Shutdown, shutdown};
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backend::Backend;
use crate::driver::{Driver, DriverSocket as _};
use crate::task::RelayEnd;

/// The most bytes that wait for a sink; then no receive is started.
const MOST: usize = 64 << 10;

/// A relay between a client and an upstream.
pub(crate) struct BufferedRelay<C: Driver> {
    upstream: C::Socket,
    to_upstream: BufferPump,
    to_client: BufferPump,
    stall: Duration,
    since: Instant,
}

/// One direction.
#[derive(Default)]
struct BufferPump {
    receive: Option<Key>,
    send: Option<Key>,
    /// The last send found no room, so the next waits for it first.
    full: bool,
    waiting: Vec<u8>,
    /// The source has ended its stream.
    ended: bool,
    /// All of it has been sent, the end included.
    over: bool,
    moved: u64,
}

impl<C: Driver> BufferedRelay<C> {
    /// # Errors
    /// `upstream` is no socket, or there is no descriptor for it.
    pub(crate) fn new(upstream: OwnedFd, stall: Duration, now: Instant) -> io::Result<Self> {
        ioctl_fionbio(&upstream, false)?;
        let upstream = C::Socket::new(upstream).map_err(|(errno, _)| errno)?;
        let (to_upstream, to_client) = (BufferPump::default(), BufferPump::default());
        Ok(Self { upstream, to_upstream, to_client, stall, since: now })
    }

    /// Takes over the bytes that the client has sent before, perhaps its end, and the receive in flight.
    pub(crate) fn start_with(&mut self, bytes: Vec<u8>, ended: bool, receive: Option<Key>) {
        self.to_upstream.waiting = bytes;
        self.to_upstream.ended = ended;
        self.to_upstream.receive = receive;
    }

    /// Returns when it times out.
    pub(crate) fn deadline(&self) -> Instant {
        self.since + self.stall
    }

    /// Returns how it ended.
    pub(crate) fn end(&self, error: Option<std::io::Error>) -> RelayEnd {
        let (to_upstream, to_client) = (self.to_upstream.moved, self.to_client.moved);
        RelayEnd { to_upstream, to_client, error }
    }

    /// Starts all operations that are possible; true when both directions are over.
    pub(crate) fn advance(
        &mut self,
        tag: u64,
        client: &C::Socket,
        backend: &mut Backend<C>,
    ) -> bool {
        let upstream = &self.upstream;
        self.to_upstream.advance(tag, client.receiver(), upstream.sender(), backend);
        self.to_client.advance(tag, upstream.receiver(), client.sender(), backend);
        self.to_upstream.over && self.to_client.over
    }

    /// Takes the result of an operation, if it is one of these.
    ///
    /// # Errors
    /// The errno of a direction that failed.
    pub(crate) fn complete(
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

    /// Cancels everything in flight: it is over.
    pub(crate) fn abort(&mut self, client: &C::Socket, backend: &mut Backend<C>) {
        for (pump, source, sink) in [
            (&mut self.to_upstream, client, &self.upstream),
            (&mut self.to_client, &self.upstream, client),
        ] {
            for (key, socket) in [(pump.receive.take(), source), (pump.send.take(), sink)] {
                if let Some(key) = key {
                    backend.driver.cancel(key);
                    socket.abort(false);
                }
            }
        }
    }
}

impl BufferPump {
    fn advance<C: Driver>(
        &mut self,
        tag: u64,
        source: &SharedFd,
        sink: &SharedFd,
        backend: &mut Backend<C>,
    ) {
        if self.send.is_none() && mem::take(&mut self.full) {
            self.send = Some(backend.driver.start(tag, Operation::Writable(Arc::clone(sink))));
        }
        if self.send.is_none() && !self.waiting.is_empty() {
            let bytes = mem::replace(&mut self.waiting, backend.take_buffer());
            self.waiting.clear();
            let socket = Arc::clone(sink);
            let send = Operation::Send { socket, bytes, from: 0, more: false, zerocopy: false };
            self.send = Some(backend.start(tag, send));
        }
        if self.ended {
            if self.send.is_none() && !mem::replace(&mut self.over, true) {
                // A peer that has closed the connection needs no FIN.
                let _closed = shutdown((**sink).as_fd(), Shutdown::Write);
            }
        } else if self.receive.is_none() && self.waiting.len() < MOST {
            let receive = Operation::Receive(Arc::clone(source));
            self.receive = Some(backend.driver.start(tag, receive));
        }
    }

    fn received<C: Driver>(
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
            // It ended early, and is started again when there is room.
            Err(Errno::NOBUFS | Errno::CANCELED | Errno::INTR | Errno::AGAIN) => {}
            Err(errno) => return Err(errno),
        }
        Ok(())
    }

    fn sent<C: Driver>(
        &mut self,
        mut bytes: Vec<u8>,
        sent: io::Result<usize>,
        backend: &mut Backend<C>,
    ) -> io::Result<()> {
        let count = match sent {
            Ok(count) => count,
            Err(Errno::AGAIN) => {
                self.full = true;
                0
            }
            Err(Errno::INTR) => 0,
            Err(errno) => return Err(errno),
        };
        self.moved += count as u64;
        if count < bytes.len() {
            bytes.drain(..count);
            bytes.append(&mut self.waiting);
            mem::swap(&mut bytes, &mut self.waiting);
        }
        backend.give_back(bytes);
        Ok(())
    }
}
