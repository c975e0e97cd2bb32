//! An outbox on its way, on a completion model: one operation at a time, each with its own buffer.
//!
//! The outbox counts what went and is never lent out. What was read and not taken by the socket
//! stays in its buffer for the next operation.

use karez_sys::{Completion, Handle, Key, Operation, Outcome};
use karez_transfer::{Chunk, FileRange, FileToSocket, Gather, Gathered, Outbox, Via};
use rustix::io::{self, Errno};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::context::Backend;
use super::pipes::Pipe;
use crate::driver::Completer;
use crate::outlet::Outlet;
use crate::task::SendError;

/// The most bytes of one operation through a buffer. Measured for `copy`, whose bytes should still
/// be in a near cache when they are sent.
const MOST: usize = 48 << 10;

/// The most bytes of one splice: what fits into a pipe.
const MOST_SPLICED: u64 = 1 << 20;

/// How long a cancelled read may take to end.
const CANCELLING: Duration = Duration::from_secs(1);

/// The outbox of a connection on its way.
pub(crate) struct Send {
    /// Since when nothing has moved.
    since: Instant,
    /// That time is over; whether something moved after all, the operation in flight will say.
    timed_out: bool,
    /// When to give that up, too: a read of a file that hangs says nothing.
    hopeless_at: Option<Instant>,
    in_flight: Option<(Key, InFlight)>,
    /// What the socket has not taken.
    unsent: Option<Unsent>,
    /// What is being gathered, with nothing in flight for it.
    gathering: Option<(Gather, bool)>,
    /// What was spliced in and not out.
    pipe: Option<(Pipe, usize)>,
    /// The socket took less than there was, so that room is waited for first.
    full: bool,
    /// Lending and splicing were refused.
    copy_only: bool,
}

/// Bytes of a buffer that are to go next.
struct Unsent {
    bytes: Vec<u8>,
    from: usize,
    more: bool,
    lend: bool,
}

/// What an operation in flight has to be remembered by.
enum InFlight {
    Send {
        from: usize,
        more: bool,
        lend: bool,
    },
    /// A range of a file into what is being gathered.
    Read {
        gather: Gather,
        lend: bool,
    },
    ReadThenSend {
        gather: Gather,
        more: bool,
    },
    Fill {
        pipe: Pipe,
    },
    Drain {
        held: usize,
        pipe: Pipe,
    },
    /// Nothing but the wait for room.
    Room,
}

/// What sending works with.
pub(crate) struct SendContext<'a, C> {
    pub(crate) outbox: &'a mut Outbox,
    pub(crate) backend: &'a mut Backend<C>,
    pub(crate) tag: u64,
    pub(crate) out: &'a mut Outlet,
    pub(crate) now: Instant,
}

/// How far it has come.
pub(crate) enum Sent {
    /// An operation is in flight.
    InFlight,
    /// Everything has left.
    Nothing,
    /// It ends early.
    Failed(SendError),
}

impl Send {
    pub(crate) fn new(since: Instant) -> Self {
        let (timed_out, full, copy_only) = (false, false, false);
        let (hopeless_at, in_flight, unsent, gathering, pipe) = (None, None, None, None, None);
        Self { since, timed_out, hopeless_at, in_flight, unsent, gathering, pipe, full, copy_only }
    }

    /// Starts to count the time in which nothing moves.
    pub(crate) fn restart_clock(&mut self, now: Instant) {
        self.since = now;
    }

    /// Returns when nothing will have moved for too long; after that has been noticed only if a file is
    /// read.
    pub(crate) fn deadline(&self, stall: Duration) -> Option<Instant> {
        if self.timed_out { self.hopeless_at } else { Some(self.since + stall) }
    }

    /// Nothing has moved for too long: asks for an end of what is in flight, whose result tells whether
    /// something has moved after all.
    ///
    /// # Errors
    /// What is in flight reads a file, was cancelled before and has not ended: the kernel cannot
    /// interrupt it.
    pub(crate) fn cancel<C: Completer>(
        &mut self,
        now: Instant,
        backend: &mut Backend<C>,
    ) -> Result<(), SendError> {
        if self.hopeless_at.is_some_and(|at| at <= now) {
            return Err(SendError::TimedOut);
        }
        self.timed_out = true;
        if let Some((key, flight)) = &self.in_flight {
            backend.driver.cancel(*key);
            let reads =
                !matches!(flight, InFlight::Send { .. } | InFlight::Drain { .. } | InFlight::Room);
            self.hopeless_at = reads.then(|| now + CANCELLING);
        }
        Ok(())
    }

    /// The connection is over.
    pub(crate) fn abort<C: Completer>(&mut self, backend: &mut Backend<C>) {
        self.timed_out = true;
        if let Some((key, _)) = &self.in_flight {
            backend.driver.abort(*key);
        }
    }

    /// Forgets what has not left: the outbox has been emptied.
    pub(crate) fn reset(&mut self) {
        (self.unsent, self.gathering, self.pipe) = (None, None, None);
        self.full = false;
    }

    pub(crate) fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Begins the next operation, unless one is in flight.
    pub(crate) fn start_next<C: Completer>(&mut self, cx: &mut SendContext<'_, C>) -> Sent {
        if self.in_flight.is_some() {
            return Sent::InFlight;
        }
        (self.timed_out, self.hopeless_at) = (false, None);
        if std::mem::take(&mut self.full) {
            let key = cx.backend.driver.start(cx.tag, Operation::Writable(cx.out.handle()));
            self.in_flight = Some((key, InFlight::Room));
            return Sent::InFlight;
        }
        if let Some(rest) = self.unsent.take() {
            self.send(rest, cx);
            return Sent::InFlight;
        }
        if let Some((gather, lend)) = self.gathering.take() {
            return self.gather(gather, lend, cx).unwrap_or_else(Sent::Failed);
        }
        if let Some((pipe, held)) = self.pipe.take() {
            self.drain(pipe, held, cx);
            return Sent::InFlight;
        }
        self.next(cx).unwrap_or_else(Sent::Failed)
    }

    /// Begins what the outbox has to send next.
    fn next<C: Completer>(&mut self, cx: &mut SendContext<'_, C>) -> Result<Sent, SendError> {
        let plain = self.copy_only;
        match cx.outbox.next_chunk(|file| granted::<C>(plain, file) != Via::Splice) {
            Chunk::Empty => return Ok(Sent::Nothing),
            Chunk::Memory { more } => {
                let memory = cx.outbox.memory();
                let more = more || memory.len() > MOST;
                let memory = &memory[..memory.len().min(MOST)];
                let mut bytes = cx.backend.buffers.pop().unwrap_or_default();
                bytes.clear();
                bytes.extend_from_slice(memory);
                self.send(Unsent { bytes, from: 0, more, lend: false }, cx);
            }
            Chunk::File { .. } => {
                if let Err(errno) = self.fill(cx) {
                    // No pipe to be had.
                    return Ok(self.fall_back_to_copy(errno, cx));
                }
            }
            Chunk::Gather => {
                let buffer = cx.backend.buffers.pop().unwrap_or_default();
                let gather = cx.outbox.gather(buffer, MOST);
                return self.gather(gather, false, cx);
            }
        }
        Ok(Sent::InFlight)
    }

    /// Begins the next read of a gather, or sends it when it is complete.
    fn gather<C: Completer>(
        &mut self,
        mut gather: Gather,
        lend: bool,
        cx: &mut SendContext<'_, C>,
    ) -> Result<Sent, SendError> {
        let plain = self.copy_only;
        if let Some(range) = cx.outbox.gather_next(&mut gather, |file| granted::<C>(plain, file)) {
            let lend = lend || range.via == Via::Zerocopy;
            self.read(range, gather, lend, cx);
            return Ok(Sent::InFlight);
        }
        if let Some(rest) = self.gathered(gather, lend, cx)? {
            self.send(rest, cx);
            return Ok(Sent::InFlight);
        }
        self.next(cx)
    }

    /// Ends a gather: the bytes to be sent, unless there are none or the outbox made a record of them.
    fn gathered<C: Completer>(
        &mut self,
        mut gather: Gather,
        lend: bool,
        cx: &mut SendContext<'_, C>,
    ) -> Result<Option<Unsent>, SendError> {
        let more = cx.outbox.seal(&mut gather).map_err(SendError::Failed)?;
        if cx.outbox.is_sealed() || gather.bytes().is_empty() {
            cx.outbox.release();
            cx.backend.give_back(gather.into_buffer());
            return Ok(None);
        }
        Ok(Some(Unsent { bytes: gather.into_bytes(), from: 0, more, lend }))
    }

    /// Takes what came of the operation in flight.
    pub(crate) fn complete<C: Completer>(
        &mut self,
        completion: Completion,
        cx: &mut SendContext<'_, C>,
    ) -> Result<(), SendError> {
        let Some((_, flight)) = self.in_flight.take_if(|(key, _)| *key == completion.key) else {
            return Ok(()); // of a send that is over
        };
        match (flight, completion.outcome) {
            (InFlight::Send { from, more, lend }, Outcome::Sent { bytes, sent }) => {
                self.count_sent(Unsent { bytes, from, more, lend }, sent, cx)
            }
            (InFlight::Read { mut gather, lend }, Outcome::Read { bytes, read }) => {
                gather.give_back(bytes);
                if self.take_read(&mut gather, read, cx.outbox)? {
                    self.gathering = Some((gather, lend));
                } else {
                    self.drop_gather(gather, cx);
                }
                Ok(())
            }
            (
                InFlight::ReadThenSend { mut gather, more },
                Outcome::ReadThenSent { bytes, read, sent },
            ) => {
                let asked = gather.asked_length();
                gather.give_back(bytes);
                if !self.take_read(&mut gather, read, cx.outbox)? {
                    self.drop_gather(gather, cx);
                    return Ok(());
                }
                if read.is_ok_and(|count| count < asked) {
                    self.unsent = self.gathered(gather, false, cx)?;
                    return Ok(());
                }
                let rest = Unsent { bytes: gather.into_bytes(), from: 0, more, lend: false };
                self.count_sent(rest, sent, cx)
            }
            (InFlight::Fill { pipe }, Outcome::Spliced(moved)) => {
                match moved {
                    // Whether it ends there, or cannot be read at all, a plain read tells.
                    Ok(0) => {
                        cx.backend.pipes.give_back(pipe);
                        self.copy_only = true;
                    }
                    Ok(held) => self.pipe = Some((pipe, held)),
                    Err(errno) => match self.failed(errno) {
                        Err(SendError::Failed(_)) => self.copy_only = true,
                        waited => waited?,
                    },
                }
                Ok(())
            }
            (InFlight::Drain { held, pipe }, Outcome::Spliced(moved)) => {
                self.drained(pipe, held, moved, cx)
            }
            (InFlight::Room, Outcome::Writable(Err(errno))) => self.failed(errno),
            _ => Ok(()), // no completer mixes them up
        }
    }

    /// Begins an operation, and counts it if the outbox keeps a ledger.
    fn start<C: Completer>(&mut self, operation: Operation, cx: &mut SendContext<'_, C>) -> Key {
        let linked = matches!(operation, Operation::ReadThenSend { .. });
        cx.outbox.count_operations(1 + u64::from(linked));
        cx.backend.driver.start(cx.tag, operation)
    }

    fn send<C: Completer>(&mut self, rest: Unsent, cx: &mut SendContext<'_, C>) {
        if C::SENDS_BLOCK {
            cx.out.limit();
        }
        let Unsent { bytes, from, more, lend } = rest;
        let lend = lend && !self.copy_only;
        let operation = Operation::Send { socket: cx.out.handle(), bytes, from, more, lend };
        let key = self.start(operation, cx);
        self.in_flight = Some((key, InFlight::Send { from, more, lend }));
    }

    fn read<C: Completer>(
        &mut self,
        range: FileRange,
        mut gather: Gather,
        lend: bool,
        cx: &mut SendContext<'_, C>,
    ) {
        let (last, more) = cx.outbox.is_last(&gather);
        let remote = range.device.remote;
        // A read ahead of a send would hold the socket for as long as it hangs.
        let links = C::LINKS && !remote && last && range.is_plain() && range.via == Via::Copy;
        let (file, offset): (Handle, _) = (range.source, range.offset);
        let (bytes, from) = gather.lend();
        let (operation, flight) = if links && !cx.outbox.is_sealed() {
            let socket = cx.out.handle();
            let operation = Operation::ReadThenSend { file, offset, socket, bytes, from, more };
            (operation, InFlight::ReadThenSend { gather, more })
        } else {
            (Operation::Read { file, offset, bytes, from, remote }, InFlight::Read { gather, lend })
        };
        self.in_flight = Some((self.start(operation, cx), flight));
    }

    /// Takes the result of a read into a gather. False if it has to be tried again.
    fn take_read(
        &mut self,
        gather: &mut Gather,
        read: io::Result<usize>,
        outbox: &mut Outbox,
    ) -> Result<bool, SendError> {
        match read {
            Ok(count) => match outbox.gathered(gather, Some(count)) {
                Gathered::Next | Gathered::Cold => Ok(true),
                Gathered::Truncated { missing } => Err(SendError::Truncated { missing }),
            },
            Err(errno) => self.failed(errno).map(|()| false),
        }
    }

    fn drop_gather<C: Completer>(&mut self, gather: Gather, cx: &mut SendContext<'_, C>) {
        cx.outbox.release();
        cx.backend.give_back(gather.into_buffer());
    }

    fn fill<C: Completer>(&mut self, cx: &mut SendContext<'_, C>) -> io::Result<()> {
        let pipe = cx.backend.pipes.take()?;
        let part = cx.outbox.file().ok_or(Errno::INVAL)?.range_to_splice();
        let length = part.remaining.min(MOST_SPLICED).min(pipe.capacity);
        let operation = Operation::Splice {
            from: Arc::clone(&part.source),
            offset: Some(part.offset),
            to: Arc::clone(&pipe.write) as Handle,
            length: u32::try_from(length).unwrap_or(u32::MAX),
            more: false,
        };
        let key = self.start(operation, cx);
        self.in_flight = Some((key, InFlight::Fill { pipe }));
        Ok(())
    }

    fn drain<C: Completer>(&mut self, pipe: Pipe, held: usize, cx: &mut SendContext<'_, C>) {
        // A thread of the kernel makes a blocking call.
        cx.out.limit();
        let operation = Operation::Splice {
            from: Arc::clone(&pipe.read) as Handle,
            offset: None,
            to: cx.out.handle(),
            length: u32::try_from(held).unwrap_or(u32::MAX),
            more: cx.outbox.queued() > held as u64,
        };
        let key = self.start(operation, cx);
        self.in_flight = Some((key, InFlight::Drain { held, pipe }));
    }

    fn fall_back_to_copy<C: Completer>(
        &mut self,
        errno: Errno,
        cx: &mut SendContext<'_, C>,
    ) -> Sent {
        if self.copy_only {
            return Sent::Failed(SendError::Failed(errno.into()));
        }
        self.copy_only = true;
        self.start_next(cx)
    }

    fn count_sent<C: Completer>(
        &mut self,
        mut rest: Unsent,
        sent: io::Result<usize>,
        cx: &mut SendContext<'_, C>,
    ) -> Result<(), SendError> {
        match sent {
            Ok(count) => {
                self.moved(count, cx);
                rest.from += count;
            }
            // This socket lends nothing; a copy goes.
            Err(errno) if !self.copy_only && refuses_lending(errno) => self.copy_only = true,
            Err(errno) => self.failed(errno)?,
        }
        if rest.from < rest.bytes.len() {
            self.full = C::SENDS_BLOCK;
            self.unsent = Some(rest);
        } else {
            cx.outbox.release();
            cx.backend.give_back(rest.bytes);
        }
        Ok(())
    }

    fn drained<C: Completer>(
        &mut self,
        pipe: Pipe,
        held: usize,
        moved: io::Result<usize>,
        cx: &mut SendContext<'_, C>,
    ) -> Result<(), SendError> {
        match moved {
            Ok(count) => {
                self.moved(count, cx);
                match held.saturating_sub(count) {
                    0 => cx.backend.pipes.give_back(pipe),
                    left => (self.pipe, self.full) = (Some((pipe, left)), true),
                }
            }
            // The file still has what is in the pipe.
            Err(errno) if refuses_splice(errno) => self.copy_only = true,
            Err(errno) => {
                self.failed(errno)?;
                (self.pipe, self.full) = (Some((pipe, held)), errno == Errno::AGAIN);
            }
        }
        Ok(())
    }

    fn moved<C: Completer>(&mut self, count: usize, cx: &mut SendContext<'_, C>) {
        cx.outbox.complete(count);
        if count > 0 {
            self.since = cx.now;
            (self.timed_out, self.hopeless_at) = (false, None);
        }
    }

    /// Whether an error is one, or only an end before its time.
    fn failed(&self, errno: Errno) -> Result<(), SendError> {
        match errno {
            Errno::AGAIN | Errno::CANCELED | Errno::INTR if self.timed_out => {
                Err(SendError::TimedOut)
            }
            Errno::AGAIN | Errno::CANCELED | Errno::INTR => Ok(()),
            errno => Err(SendError::Failed(errno.into())),
        }
    }
}

/// By which via a completion model moves this file.
fn granted<C: Completer>(plain: bool, file: &FileToSocket) -> Via {
    if plain || !file.is_plain() { Via::Copy } else { C::grants(file.asked()) }
}

/// Returns whether what is in a pipe cannot go out of it by splice(2): where the page of a file could
/// not be read (`EIO`), a plain read says so once more.
fn refuses_splice(errno: Errno) -> bool {
    let unknown = matches!(errno, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM);
    unknown || matches!(errno, Errno::ACCESS | Errno::IO)
}

/// Returns whether a socket cannot be sent memory that it only refers to.
fn refuses_lending(errno: Errno) -> bool {
    let unknown = matches!(errno, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM);
    unknown || matches!(errno, Errno::ACCESS | Errno::NOBUFS | Errno::NOMEM)
}
