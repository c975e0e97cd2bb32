//! Sending on a completion model: one operation at a time, each with its own buffer.
//!
//! The outbox counts the bytes that were sent and is never lent out. Bytes that were read and not sent
//! are read again: after a short send the next operation waits for room with no buffer, so that a slow
//! reader holds none. No send waits in the kernel, which would keep its buffer until the socket has room.
//!
//! # Limitations
//!
//! With more than [`MANY`] operations in flight, as in a burst of new connections, each has a smaller
//! buffer, which costs more of them.

use karez_sys::{Completion, Key, Operation, Outcome};
use karez_transfer::{Chunk, FileToSocket, Gather, Outbox, Via};
use rustix::io::{self, Errno};
use rustix::net::SendFlags;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backend::Backend;
use super::pipes::Pipe;
use super::stage::{InFlight, Stage, Unsent};
use crate::driver::{Driver, DriverSocket as _};
use crate::moment::Moment;
use crate::stall::StallLimits;
use crate::task::SendError;

/// The most bytes of one operation through a buffer. Measured for `copy`, whose bytes should still
/// be in a near cache when they are sent.
const MOST: usize = 48 << 10;

/// With more buffers in use than this on an event loop, an operation has at most [`LESS`] bytes.
const MANY: usize = 64;
const LESS: usize = 16 << 10;

/// With more than this at most [`LEAST`].
const TOO_MANY: usize = 512;
const LEAST: usize = 4 << 10;

/// How long a cancelled read may take to end.
const CANCEL_TIME: Duration = Duration::from_secs(1);

/// The state of sending.
#[derive(Default)]
pub(crate) struct Sender {
    /// The stall timeout has passed. The result of the operation in flight decides whether bytes were
    /// sent after all.
    pub(super) timed_out: bool,
    /// When to give up an operation that was cancelled: a read of a file that hangs does not complete.
    pub(super) give_up_at: Option<Moment>,
    /// `None` if nothing is in flight or in a buffer. From the pool of the backend.
    stage: Option<Box<Stage>>,
    /// A pipe and the bytes in it.
    pub(super) pipe: Option<Box<(Pipe, usize)>>,
    /// The send buffer of the socket is full, so the next operation waits for room.
    pub(super) full: bool,
    /// The kernel refuses zero-copy sends and splices here.
    pub(super) copy_only: bool,
}

/// The context of a send.
pub(crate) struct SendContext<'a, C: Driver> {
    pub(crate) outbox: &'a mut Outbox,
    /// The last time that a byte was sent.
    pub(crate) progressed_at: &'a mut Moment,
    pub(crate) stall: StallLimits,
    pub(crate) backend: &'a mut Backend<C>,
    pub(crate) tag: u64,
    pub(crate) socket: &'a mut C::Socket,
    pub(crate) now: Instant,
}

impl<C: Driver> SendContext<'_, C> {
    fn progressed(&mut self, count: usize) {
        let before = *self.progressed_at;
        *self.progressed_at = self.stall.progress(before, count as u64, self.now);
    }

    /// Drops a gather, and keeps its buffer.
    pub(super) fn drop_gather(&mut self, gather: Gather) {
        self.outbox.discard_gathered();
        self.backend.give_back(gather.into_buffer());
    }
}

/// The result of a start.
pub(crate) enum SendProgress {
    /// An operation is in flight.
    InFlight,
    /// The outbox is empty.
    Empty,
    /// Sending has ended early.
    Failed(SendError),
}

impl Sender {
    /// Returns when to [cancel](Self::cancel), where the stall timeout ends at `stall`: once more after a
    /// cancel only if a file is read.
    pub(crate) fn deadline(&self, stall: Instant) -> Option<Instant> {
        if self.timed_out { self.give_up_at.map(Moment::instant) } else { Some(stall) }
    }

    /// Cancels the operation in flight: the peer has taken no byte for too long. Its result decides
    /// whether bytes were sent after all.
    ///
    /// # Errors
    /// The operation reads a file, was cancelled before and has not ended: the kernel cannot interrupt
    /// it.
    pub(crate) fn cancel<C: Driver>(
        &mut self,
        now: Instant,
        backend: &mut Backend<C>,
    ) -> Result<(), SendError> {
        if self.give_up_at.is_some_and(|at| at.instant() <= now) {
            return Err(SendError::TimedOut);
        }
        self.timed_out = true;
        if let Some(Stage::InFlight(key, operation)) = self.stage.as_deref() {
            backend.driver.cancel(*key);
            let only_socket = matches!(
                operation,
                InFlight::Send { .. } | InFlight::Drain { .. } | InFlight::Room
            );
            self.give_up_at = (!only_socket).then(|| (now + CANCEL_TIME).into());
        }
        Ok(())
    }

    /// Cancels the operation in flight: the connection is closed. False if there is none.
    pub(crate) fn abort<C: Driver>(&mut self, backend: &mut Backend<C>) -> bool {
        self.timed_out = true;
        let Some(Stage::InFlight(key, _)) = self.stage.as_deref() else { return false };
        backend.driver.cancel(*key);
        true
    }

    /// Forgets the bytes that were not sent: the outbox has been emptied.
    pub(crate) fn reset(&mut self) {
        if !self.is_in_flight() {
            self.stage = None;
        }
        (self.pipe, self.full) = (None, false);
    }

    pub(crate) fn is_in_flight(&self) -> bool {
        matches!(self.stage.as_deref(), Some(Stage::InFlight(..)))
    }

    /// Sets the stage, in a box of the pool.
    pub(super) fn set_stage<C: Driver>(&mut self, stage: Stage, backend: &mut Backend<C>) {
        let mut place = backend.stages.pop().unwrap_or_else(|| Box::new(Stage::Unused));
        *place = stage;
        self.stage = Some(place);
    }

    /// Takes the stage if it is `wanted`, and gives its box back.
    fn take_stage<C: Driver>(
        &mut self,
        wanted: impl FnOnce(&Stage) -> bool,
        backend: &mut Backend<C>,
    ) -> Option<Stage> {
        let mut place = self.stage.take_if(|stage| wanted(stage))?;
        let stage = mem::replace(&mut *place, Stage::Unused);
        backend.give_back_stage(place);
        Some(stage)
    }

    /// Starts the next operation, unless one is in flight.
    pub(crate) fn start_next<C: Driver>(&mut self, cx: &mut SendContext<'_, C>) -> SendProgress {
        if self.is_in_flight() {
            return SendProgress::InFlight;
        }
        (self.timed_out, self.give_up_at) = (false, None);
        if mem::take(&mut self.full) {
            let operation = Operation::Writable(Arc::clone(cx.socket.sender()));
            let key = cx.backend.driver.start(cx.tag, operation);
            self.set_stage(Stage::InFlight(key, InFlight::Room), cx.backend);
            return SendProgress::InFlight;
        }
        match self.take_stage(|_| true, cx.backend) {
            Some(Stage::Unsent(unsent)) => {
                self.send(unsent, cx);
                return SendProgress::InFlight;
            }
            Some(Stage::Gathering(gather, zerocopy)) => {
                return self.gather(gather, zerocopy, cx).unwrap_or_else(SendProgress::Failed);
            }
            Some(Stage::InFlight(..) | Stage::Unused) | None => {}
        }
        if let Some((pipe, held)) = self.pipe.take().map(|held| *held) {
            let drained = self.drain(pipe, held, cx);
            return drained.map_or_else(SendProgress::Failed, |()| SendProgress::InFlight);
        }
        self.next(cx).unwrap_or_else(SendProgress::Failed)
    }

    /// Starts the first operation for the next chunk of the outbox.
    pub(super) fn next<C: Driver>(
        &mut self,
        cx: &mut SendContext<'_, C>,
    ) -> Result<SendProgress, SendError> {
        let copy_only = self.copy_only;
        match cx.outbox.next_chunk(|file| effective_via::<C>(copy_only, file) != Via::Splice) {
            Chunk::Empty => return Ok(SendProgress::Empty),
            Chunk::Memory { more } => {
                let most = most(cx.backend.buffers_in_use());
                let memory = cx.outbox.memory();
                let more = more || memory.len() > most;
                let memory = &memory[..memory.len().min(most)];
                let mut bytes = cx.backend.take_buffer();
                bytes.clear();
                bytes.extend_from_slice(memory);
                self.send(Unsent { bytes, from: 0, more, zerocopy: false }, cx);
            }
            Chunk::File { .. } => {
                if let Err(no_pipe) = self.fill(cx) {
                    if mem::replace(&mut self.copy_only, true) {
                        return Err(SendError::Failed(no_pipe.into()));
                    }
                    return Ok(self.start_next(cx));
                }
            }
            Chunk::Switch => {
                cx.outbox.switch((**cx.socket.sender()).as_fd()).map_err(SendError::Failed)?;
                return self.next(cx);
            }
            Chunk::Record => return self.send_record(cx),
            Chunk::Gather => {
                let most = most(cx.backend.buffers_in_use());
                let buffer = cx.backend.take_buffer();
                let gather = cx.outbox.gather(buffer, most);
                return self.gather(gather, false, cx);
            }
        }
        Ok(SendProgress::InFlight)
    }

    /// Sends a record of another kind than data by a call, for it needs a control message. It is a few
    /// bytes.
    fn send_record<C: Driver>(
        &mut self,
        cx: &mut SendContext<'_, C>,
    ) -> Result<SendProgress, SendError> {
        let sent = cx.outbox.send_record((**cx.socket.sender()).as_fd(), SendFlags::DONTWAIT);
        match sent.map_err(SendError::Failed)? {
            Some(count) => cx.progressed(count),
            None => self.full = true,
        }
        Ok(self.start_next(cx))
    }

    /// Takes the result of the operation in flight.
    pub(crate) fn complete<C: Driver>(
        &mut self,
        completion: Completion,
        cx: &mut SendContext<'_, C>,
    ) -> Result<(), SendError> {
        let own =
            |stage: &Stage| matches!(stage, Stage::InFlight(key, _) if *key == completion.key);
        let Some(Stage::InFlight(_, operation)) = self.take_stage(own, cx.backend) else {
            return Ok(()); // of a send that is over
        };
        match (operation, completion.outcome) {
            (InFlight::Send { from, more, zerocopy }, Outcome::Sent { bytes, sent }) => {
                self.count_sent(Unsent { bytes, from, more, zerocopy }, sent, cx)
            }
            (InFlight::Read { mut gather, zerocopy }, Outcome::Read { bytes, read }) => {
                gather.put_buffer(bytes);
                if self.take_read(&mut gather, read, cx.outbox)? {
                    self.set_stage(Stage::Gathering(gather, zerocopy), cx.backend);
                } else {
                    cx.drop_gather(gather);
                }
                Ok(())
            }
            (
                InFlight::ReadThenSend { mut gather, more },
                Outcome::ReadThenSent { bytes, read, sent },
            ) => {
                let requested = gather.requested_length();
                gather.put_buffer(bytes);
                if !self.take_read(&mut gather, read, cx.outbox)? {
                    cx.drop_gather(gather);
                    return Ok(());
                }
                if read.is_ok_and(|count| count < requested) {
                    if let Some(unsent) = self.finish_gather(gather, false, cx)? {
                        self.set_stage(Stage::Unsent(unsent), cx.backend);
                    }
                    return Ok(());
                }
                let bytes = gather.into_bytes();
                self.count_sent(Unsent { bytes, from: 0, more, zerocopy: false }, sent, cx)
            }
            (InFlight::Fill { pipe }, Outcome::Spliced(moved)) => self.filled(pipe, moved, cx),
            (InFlight::Drain { held, pipe }, Outcome::Spliced(moved)) => {
                self.drained(pipe, held, moved, cx)
            }
            (InFlight::Room, Outcome::Writable(Err(errno))) => self.failed(errno),
            _ => Ok(()), // no driver mixes them up
        }
    }

    /// Starts an operation, and counts it if the outbox keeps statistics.
    pub(super) fn start<C: Driver>(
        &mut self,
        operation: Operation,
        cx: &mut SendContext<'_, C>,
    ) -> Key {
        let linked = matches!(operation, Operation::ReadThenSend { .. });
        cx.outbox.count_operations(1 + u64::from(linked));
        cx.backend.start(cx.tag, operation)
    }

    pub(super) fn send<C: Driver>(&mut self, unsent: Unsent, cx: &mut SendContext<'_, C>) {
        let Unsent { bytes, from, more, zerocopy } = unsent;
        let zerocopy = zerocopy && !self.copy_only;
        let socket = Arc::clone(cx.socket.sender());
        let operation = Operation::Send { socket, bytes, from, more, zerocopy };
        let key = self.start(operation, cx);
        let in_flight = InFlight::Send { from, more, zerocopy };
        self.set_stage(Stage::InFlight(key, in_flight), cx.backend);
    }

    fn count_sent<C: Driver>(
        &mut self,
        mut unsent: Unsent,
        sent: io::Result<usize>,
        cx: &mut SendContext<'_, C>,
    ) -> Result<(), SendError> {
        match sent {
            Ok(count) => {
                self.moved(count, cx);
                unsent.from += count;
                self.full = unsent.from < unsent.bytes.len();
            }
            Err(errno) if !self.copy_only && refuses_zerocopy(errno) => self.copy_only = true,
            Err(errno) => {
                self.failed(errno)?;
                self.full = errno == Errno::AGAIN;
            }
        }
        if unsent.from < unsent.bytes.len() && !self.full {
            self.set_stage(Stage::Unsent(unsent), cx.backend);
            return Ok(());
        }
        cx.outbox.discard_gathered();
        cx.backend.give_back(unsent.bytes);
        if self.full {
            cx.outbox.shrink_record();
        }
        Ok(())
    }

    /// Counts bytes that were sent.
    pub(super) fn moved<C: Driver>(&mut self, count: usize, cx: &mut SendContext<'_, C>) {
        cx.outbox.complete(count);
        if count > 0 {
            cx.progressed(count);
            (self.timed_out, self.give_up_at) = (false, None);
        }
    }

    /// Distinguishes an error from an operation that only ended early.
    pub(super) fn failed(&self, errno: Errno) -> Result<(), SendError> {
        match errno {
            Errno::AGAIN | Errno::CANCELED | Errno::INTR if self.timed_out => {
                Err(SendError::TimedOut)
            }
            Errno::AGAIN | Errno::CANCELED | Errno::INTR => Ok(()),
            errno => Err(SendError::Failed(errno.into())),
        }
    }
}

/// Returns the most bytes of one operation, with so many buffers in use.
fn most(in_use: usize) -> usize {
    if in_use <= MANY {
        MOST
    } else if in_use <= TOO_MANY {
        LESS
    } else {
        LEAST
    }
}

/// Returns the via by which a completion model moves this file.
pub(super) fn effective_via<C: Driver>(copy_only: bool, file: &FileToSocket) -> Via {
    if copy_only || !file.is_plain() { Via::Copy } else { C::supported_via(file.requested()) }
}

/// Returns whether the errno of a send says that the socket supports no zero-copy send.
fn refuses_zerocopy(errno: Errno) -> bool {
    let unknown = matches!(errno, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM);
    unknown || matches!(errno, Errno::ACCESS | Errno::NOBUFS | Errno::NOMEM)
}
