//! Receiving on a completion model.
//!
//! A receive is in flight on the socket from the first unbounded one that the task arms, so that bytes
//! are there before the task wants them. Bytes that are read ahead are buffered, up to a limit: then the
//! receive is cancelled, and the peer's window closes. An end of the stream, or an error, is buffered in
//! the same way. A bounded receive is an operation of its own, and nothing is read ahead before it.

use karez_sys::{Key, Operation, SharedFd};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::driver::Driver;
use crate::task::RecordType;

/// The most bytes that are read ahead of a task.
const READ_AHEAD: usize = 16 << 10;

/// The end of the peer's stream.
#[derive(Clone, Copy)]
pub(super) enum StreamEnd {
    Closed,
    Failed(Errno),
}

/// The receive in flight, and the bytes that were received before the task wanted them.
#[derive(Default)]
pub(super) struct ReceiveState {
    in_flight: Option<Key>,
    /// The task has armed an unbounded receive: from then on bytes are read ahead.
    reads_ahead: bool,
    /// Boxed: most connections never send ahead.
    ahead: Option<Box<ReadAhead>>,
    end: Option<StreamEnd>,
}

/// Bytes that the task has not taken.
#[derive(Default)]
struct ReadAhead {
    buffers: VecDeque<(Vec<u8>, RecordType)>,
    bytes: usize,
}

impl ReceiveState {
    /// Returns whether a completion belongs to the receive in flight; `last` says that it is over.
    pub(super) fn completes(&mut self, key: Key, last: bool) -> bool {
        let own = self.in_flight == Some(key);
        if own && last {
            self.in_flight = None;
        }
        own
    }

    #[cfg(feature = "simulation")]
    pub(super) fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    pub(super) fn has_buffered(&self) -> bool {
        self.ahead.is_some()
    }

    pub(super) fn end(&self) -> Option<StreamEnd> {
        self.end
    }

    pub(super) fn set_end(&mut self, end: StreamEnd) {
        self.end = Some(end);
    }

    /// Keeps bytes, in memory of its own: a peer that sends and is not read would use up the provided
    /// buffers of the ring.
    pub(super) fn buffer(&mut self, bytes: Vec<u8>, kind: RecordType, driver: &mut impl Driver) {
        let ahead = self.ahead.get_or_insert_default();
        ahead.bytes += bytes.len();
        ahead.buffers.push_back((bytes, kind));
        if let Some(key) = self.in_flight
            && ahead.bytes > READ_AHEAD
        {
            driver.cancel(key);
        }
    }

    /// Takes the next bytes, at most so many.
    pub(super) fn take(&mut self, at_most: Option<NonZeroUsize>) -> Option<(Vec<u8>, RecordType)> {
        let ahead = self.ahead.as_deref_mut()?;
        let (mut bytes, kind) = ahead.buffers.pop_front()?;
        if let Some(most) = at_most.map(NonZeroUsize::get)
            && bytes.len() > most
        {
            ahead.buffers.push_front((bytes.split_off(most), kind));
        }
        ahead.bytes -= bytes.len();
        self.ahead.take_if(|ahead| ahead.buffers.is_empty());
        Some((bytes, kind))
    }

    /// Takes the end of the stream. From then on it is a regular one.
    pub(super) fn take_end(&mut self) -> Option<StreamEnd> {
        let end = self.end?;
        self.end = Some(StreamEnd::Closed);
        Some(end)
    }

    /// Starts a receive, unless one is in flight.
    pub(super) fn arm(
        &mut self,
        socket: &SharedFd,
        at_most: Option<NonZeroUsize>,
        tag: u64,
        driver: &mut impl Driver,
    ) {
        self.reads_ahead |= at_most.is_none();
        if self.in_flight.is_none() {
            let socket = Arc::clone(socket);
            let operation = match at_most {
                Some(most) => Operation::ReceiveAtMost(socket, most.get()),
                None => Operation::Receive(socket),
            };
            self.in_flight = Some(driver.start(tag, operation));
        }
    }

    /// Keeps a receive in flight while a job runs, where the task has armed one before, so that a reset
    /// is noticed.
    pub(super) fn watch_peer(&mut self, socket: &SharedFd, tag: u64, driver: &mut impl Driver) {
        let ahead = self.ahead.as_deref();
        // Bytes behind a control record may need another key.
        let last = ahead.and_then(|ahead| ahead.buffers.back());
        let control = last.is_some_and(|(_, kind)| *kind != RecordType::Data);
        let bytes = ahead.map_or(0, |ahead| ahead.bytes);
        let full = bytes > READ_AHEAD || self.end.is_some() || control;
        if self.reads_ahead && !full {
            self.arm(socket, None, tag, driver);
        }
    }

    /// Hands over to a relay: the bytes that were read ahead, and the receive in flight.
    pub(super) fn hand_over(&mut self) -> (Vec<u8>, Option<Key>) {
        let ahead = self.ahead.take().into_iter().flat_map(|ahead| ahead.buffers);
        (ahead.flat_map(|(bytes, _)| bytes).collect(), self.in_flight.take())
    }

    /// Cancels the receive in flight; false if there is none.
    pub(super) fn abort(&mut self, driver: &mut impl Driver) -> bool {
        self.in_flight.take().inspect(|key| driver.cancel(*key)).is_some()
    }
}
