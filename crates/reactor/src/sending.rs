//! An outbox on its way, on a completion model: one operation at a time, each with its own buffer.
//!
//! The outbox counts what went and is never lent out. What was read and not taken by the socket
//! stays in its buffer for the next operation.

use karez_sys::{Completion, Handle, Key, Operation, Outcome};
use karez_transfer::{Chunk, FileRange, FileToSocket, Gather, Gathered, Outbox, Via};
use rustix::io::{self, Errno};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::completer::Completer;
use crate::pipes::Pipe;
use crate::task::Obstacle;
use crate::tools::Tools;

/// The most bytes of one operation through a buffer. Measured for `copy`, whose bytes should still
/// be in a near cache when they are sent.
const MOST: usize = 48 << 10;

/// The most bytes of one splice: what fits into a pipe.
const MOST_SPLICED: u64 = 1 << 20;

/// A wish to send.
pub(crate) struct Sending {
    pub(crate) outbox: Outbox,
    /// Give up when for so long nothing moved.
    pub(crate) stall: Duration,
    pub(crate) since: Instant,
    /// That time is over; whether something moved after all, the operation in flight will say.
    overdue: bool,
    flight: Option<(Key, Flight)>,
    /// What the socket has not taken.
    rest: Option<Rest>,
    /// What is being gathered, with nothing in flight for it.
    gathering: Option<(Gather, bool)>,
    /// What was spliced in and not out.
    pipe: Option<(Pipe, usize)>,
    /// Lending and splicing were refused.
    plain: bool,
}

/// Bytes of a buffer that are to go next.
struct Rest {
    bytes: Vec<u8>,
    from: usize,
    more: bool,
    lend: bool,
}

/// What an operation in flight has to be remembered by.
enum Flight {
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
        remaining: u64,
        pipe: Pipe,
    },
    Drain {
        held: usize,
        pipe: Pipe,
    },
}

/// How far it has come.
pub(crate) enum Stand {
    /// An operation is in flight.
    Flying,
    /// Everything has left.
    Sent,
    /// It ends early.
    Unsent(Obstacle),
}

impl Sending {
    pub(crate) fn new(outbox: Outbox, stall: Duration, since: Instant) -> Self {
        let (overdue, plain) = (false, false);
        Self {
            outbox,
            stall,
            since,
            overdue,
            flight: None,
            rest: None,
            gathering: None,
            pipe: None,
            plain,
        }
    }

    /// When to look whether it stands still; not again after that.
    pub(crate) fn until(&self) -> Option<Instant> {
        (!self.overdue).then(|| self.since + self.stall)
    }

    /// The time is over.
    pub(crate) fn cut_short<C: Completer>(&mut self, tools: &mut Tools<C>) {
        self.overdue = true;
        if let Some((key, _)) = &self.flight {
            tools.completer.cancel(*key);
        }
    }

    /// The connection is over.
    pub(crate) fn abort<C: Completer>(&mut self, tools: &mut Tools<C>) {
        self.overdue = true;
        if let Some((key, _)) = &self.flight {
            tools.completer.abort(*key);
        }
    }

    pub(crate) fn is_flying(&self) -> bool {
        self.flight.is_some()
    }

    /// Begins the next operation, unless one is in flight.
    pub(crate) fn advance<C: Completer>(
        &mut self,
        tag: u64,
        out: &Handle,
        tools: &mut Tools<C>,
    ) -> Stand {
        if self.flight.is_some() {
            return Stand::Flying;
        }
        self.overdue = false;
        if let Some(rest) = self.rest.take() {
            self.send(rest, tag, out, tools);
            return Stand::Flying;
        }
        if let Some((gather, lend)) = self.gathering.take() {
            return self.gather(gather, lend, tag, out, tools).unwrap_or_else(Stand::Unsent);
        }
        if let Some((pipe, held)) = self.pipe.take() {
            self.drain(pipe, held, tag, out, tools);
            return Stand::Flying;
        }
        self.next(tag, out, tools).unwrap_or_else(Stand::Unsent)
    }

    /// Begins what the outbox has to send next.
    fn next<C: Completer>(
        &mut self,
        tag: u64,
        out: &Handle,
        tools: &mut Tools<C>,
    ) -> Result<Stand, Obstacle> {
        let plain = self.plain;
        match self.outbox.next_chunk(|file| granted::<C>(plain, file) != Via::Splice) {
            Chunk::Empty => return Ok(Stand::Sent),
            Chunk::Memory { more } => {
                let memory = self.outbox.memory();
                let more = more || memory.len() > MOST;
                let memory = &memory[..memory.len().min(MOST)];
                let mut bytes = tools.buffers.pop().unwrap_or_default();
                bytes.clear();
                bytes.extend_from_slice(memory);
                self.send(Rest { bytes, from: 0, more, lend: false }, tag, out, tools);
            }
            Chunk::File { .. } => {
                if let Err(errno) = self.fill(tag, tools) {
                    // No pipe to be had.
                    return Ok(self.go_plain(errno, tag, out, tools));
                }
            }
            Chunk::Gather => {
                let buffer = tools.buffers.pop().unwrap_or_default();
                let gather = self.outbox.gather(buffer, MOST);
                return self.gather(gather, false, tag, out, tools);
            }
        }
        Ok(Stand::Flying)
    }

    /// Begins the next read of a gather, or sends it when it is complete.
    fn gather<C: Completer>(
        &mut self,
        mut gather: Gather,
        lend: bool,
        tag: u64,
        out: &Handle,
        tools: &mut Tools<C>,
    ) -> Result<Stand, Obstacle> {
        let plain = self.plain;
        if let Some(range) = self.outbox.gather_next(&mut gather, |file| granted::<C>(plain, file))
        {
            let lend = lend || range.via == Via::Zerocopy;
            self.read(range, gather, lend, tag, out, tools);
            return Ok(Stand::Flying);
        }
        if let Some(rest) = self.gathered(gather, lend, tools)? {
            self.send(rest, tag, out, tools);
            return Ok(Stand::Flying);
        }
        self.next(tag, out, tools)
    }

    /// Ends a gather: the bytes to be sent, unless there are none or the outbox made a record of them.
    fn gathered<C: Completer>(
        &mut self,
        mut gather: Gather,
        lend: bool,
        tools: &mut Tools<C>,
    ) -> Result<Option<Rest>, Obstacle> {
        let more = self.outbox.seal(&mut gather).map_err(Obstacle::Failed)?;
        if self.outbox.is_sealed() || gather.bytes().is_empty() {
            self.outbox.release();
            tools.give_back(gather.into_buffer());
            return Ok(None);
        }
        Ok(Some(Rest { bytes: gather.into_bytes(), from: 0, more, lend }))
    }

    /// Takes what came of the operation in flight.
    pub(crate) fn complete<C: Completer>(
        &mut self,
        completion: Completion,
        now: Instant,
        tools: &mut Tools<C>,
    ) -> Result<(), Obstacle> {
        let Some((_, flight)) = self.flight.take_if(|(key, _)| *key == completion.key) else {
            return Ok(()); // of a wish that is over
        };
        match (flight, completion.outcome) {
            (Flight::Send { from, more, lend }, Outcome::Sent { bytes, sent }) => {
                self.sent(Rest { bytes, from, more, lend }, sent, now, tools)
            }
            (Flight::Read { mut gather, lend }, Outcome::Read { bytes, read }) => {
                gather.give_back(bytes);
                if self.take_read(&mut gather, read)? {
                    self.gathering = Some((gather, lend));
                } else {
                    self.drop_gather(gather, tools);
                }
                Ok(())
            }
            (
                Flight::ReadThenSend { mut gather, more },
                Outcome::ReadThenSent { bytes, read, sent },
            ) => {
                let asked = gather.asked_length();
                gather.give_back(bytes);
                if !self.take_read(&mut gather, read)? {
                    self.drop_gather(gather, tools);
                    return Ok(());
                }
                if read.is_ok_and(|count| count < asked) {
                    self.rest = self.gathered(gather, false, tools)?;
                    return Ok(());
                }
                let rest = Rest { bytes: gather.into_bytes(), from: 0, more, lend: false };
                self.sent(rest, sent, now, tools)
            }
            (Flight::Fill { remaining, pipe }, Outcome::Spliced(moved)) => {
                match moved {
                    Ok(0) => return Err(Obstacle::Truncated { missing: remaining }),
                    Ok(held) => self.pipe = Some((pipe, held)),
                    Err(errno) if refuses_splice(errno) => self.plain = true,
                    Err(errno) => self.failed(errno)?,
                }
                Ok(())
            }
            (Flight::Drain { held, pipe }, Outcome::Spliced(moved)) => {
                self.drained(pipe, held, moved, now, tools)
            }
            _ => Ok(()), // no completer mixes them up
        }
    }

    /// Begins an operation, and counts it if the outbox keeps a ledger.
    fn start<C: Completer>(&mut self, operation: Operation, tag: u64, tools: &mut Tools<C>) -> Key {
        let linked = matches!(operation, Operation::ReadThenSend { .. });
        self.outbox.count_operations(1 + u64::from(linked));
        tools.completer.start(tag, operation)
    }

    fn send<C: Completer>(&mut self, rest: Rest, tag: u64, out: &Handle, tools: &mut Tools<C>) {
        let Rest { bytes, from, more, lend } = rest;
        let lend = lend && !self.plain;
        let operation = Operation::Send { socket: Arc::clone(out), bytes, from, more, lend };
        let key = self.start(operation, tag, tools);
        self.flight = Some((key, Flight::Send { from, more, lend }));
    }

    fn read<C: Completer>(
        &mut self,
        range: FileRange,
        mut gather: Gather,
        lend: bool,
        tag: u64,
        out: &Handle,
        tools: &mut Tools<C>,
    ) {
        let (last, more) = self.outbox.is_last(&gather);
        let links = C::LINKS && last && range.is_plain() && range.via == Via::Copy;
        let (file, offset): (Handle, _) = (range.source, range.offset);
        let (bytes, from) = gather.lend();
        let (operation, flight) = if links && !self.outbox.is_sealed() {
            let socket = Arc::clone(out);
            let operation = Operation::ReadThenSend { file, offset, socket, bytes, from, more };
            (operation, Flight::ReadThenSend { gather, more })
        } else {
            (Operation::Read { file, offset, bytes, from }, Flight::Read { gather, lend })
        };
        self.flight = Some((self.start(operation, tag, tools), flight));
    }

    /// Takes the result of a read into a gather. False if it has to be tried again.
    fn take_read(
        &mut self,
        gather: &mut Gather,
        read: io::Result<usize>,
    ) -> Result<bool, Obstacle> {
        match read {
            Ok(count) => match self.outbox.gathered(gather, Some(count)) {
                Gathered::Next | Gathered::Cold => Ok(true),
                Gathered::Truncated { missing } => Err(Obstacle::Truncated { missing }),
            },
            Err(errno) => self.failed(errno).map(|()| false),
        }
    }

    fn drop_gather<C: Completer>(&mut self, gather: Gather, tools: &mut Tools<C>) {
        self.outbox.release();
        tools.give_back(gather.into_buffer());
    }

    fn fill<C: Completer>(&mut self, tag: u64, tools: &mut Tools<C>) -> io::Result<()> {
        let pipe = tools.pipes.take()?;
        let part = self.outbox.file().ok_or(Errno::INVAL)?.range_to_splice();
        let length = part.remaining.min(MOST_SPLICED).min(pipe.capacity);
        let operation = Operation::Splice {
            from: Arc::clone(&part.source),
            offset: Some(part.offset),
            to: Arc::clone(&pipe.write) as Handle,
            length: u32::try_from(length).unwrap_or(u32::MAX),
            more: false,
        };
        let key = self.start(operation, tag, tools);
        self.flight = Some((key, Flight::Fill { remaining: part.remaining, pipe }));
        Ok(())
    }

    fn drain<C: Completer>(
        &mut self,
        pipe: Pipe,
        held: usize,
        tag: u64,
        out: &Handle,
        tools: &mut Tools<C>,
    ) {
        let operation = Operation::Splice {
            from: Arc::clone(&pipe.read) as Handle,
            offset: None,
            to: Arc::clone(out),
            length: u32::try_from(held).unwrap_or(u32::MAX),
            more: self.outbox.queued() > held as u64,
        };
        let key = self.start(operation, tag, tools);
        self.flight = Some((key, Flight::Drain { held, pipe }));
    }

    fn go_plain<C: Completer>(
        &mut self,
        errno: Errno,
        tag: u64,
        out: &Handle,
        tools: &mut Tools<C>,
    ) -> Stand {
        if self.plain {
            return Stand::Unsent(Obstacle::Failed(errno.into()));
        }
        self.plain = true;
        self.advance(tag, out, tools)
    }

    fn sent<C: Completer>(
        &mut self,
        mut rest: Rest,
        sent: io::Result<usize>,
        now: Instant,
        tools: &mut Tools<C>,
    ) -> Result<(), Obstacle> {
        match sent {
            Ok(count) => {
                self.moved(count, now);
                rest.from += count;
            }
            // This socket lends nothing; a copy goes.
            Err(Errno::OPNOTSUPP | Errno::NOBUFS | Errno::NOMEM) if !self.plain => {
                self.plain = true;
            }
            Err(errno) => self.failed(errno)?,
        }
        if rest.from < rest.bytes.len() {
            self.rest = Some(rest);
        } else {
            self.outbox.release();
            tools.give_back(rest.bytes);
        }
        Ok(())
    }

    fn drained<C: Completer>(
        &mut self,
        pipe: Pipe,
        held: usize,
        moved: io::Result<usize>,
        now: Instant,
        tools: &mut Tools<C>,
    ) -> Result<(), Obstacle> {
        match moved {
            Ok(count) => {
                self.moved(count, now);
                match held.saturating_sub(count) {
                    0 => tools.pipes.give_back(pipe),
                    left => self.pipe = Some((pipe, left)),
                }
            }
            // The file still has what is in the pipe.
            Err(errno) if refuses_splice(errno) => self.plain = true,
            Err(errno) => {
                self.failed(errno)?;
                self.pipe = Some((pipe, held));
            }
        }
        Ok(())
    }

    fn moved(&mut self, count: usize, now: Instant) {
        self.outbox.complete(count);
        if count > 0 {
            self.since = now;
            self.overdue = false;
        }
    }

    /// Whether an error is one, or only an end before its time.
    fn failed(&self, errno: Errno) -> Result<(), Obstacle> {
        match errno {
            Errno::AGAIN | Errno::CANCELED | Errno::INTR if self.overdue => Err(Obstacle::TimedOut),
            Errno::AGAIN | Errno::CANCELED | Errno::INTR => Ok(()),
            errno => Err(Obstacle::Failed(errno.into())),
        }
    }
}

/// By which via a completion model moves this file.
fn granted<C: Completer>(plain: bool, file: &FileToSocket) -> Via {
    if plain || !file.is_plain() { Via::Copy } else { C::grants(file.asked()) }
}

fn refuses_splice(errno: Errno) -> bool {
    matches!(errno, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM)
}
