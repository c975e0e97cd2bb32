//! An outbox on its way, on a completion model: one operation at a time, each with its own buffer.
//!
//! The outbox counts what went and is never lent out. What was read and not taken by the socket
//! stays in its buffer for the next operation.

use karez_sys::{Completion, Handle, Key, Operation, Outcome};
use karez_transfer::{FilePart, Outbox, Portion, Via};
use rustix::io::{self, Errno};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::completer::Completer;
use crate::outlet::Outlet;
use crate::pipes::Pipe;
use crate::task::Obstacle;
use crate::tools::Tools;

/// The most bytes of one operation through a buffer. Measured for `copy`, whose bytes should still
/// be in a near cache when they are sent.
const MOST: usize = 48 << 10;

/// The most bytes of one splice: what fits into a pipe.
const MOST_SPLICED: u64 = 1 << 20;

/// How long a cancelled read may take to end.
const CANCELLING: Duration = Duration::from_secs(1);

/// A wish to send.
pub(crate) struct Sending {
    pub(crate) outbox: Outbox,
    /// Give up when for so long nothing moved.
    pub(crate) stall: Duration,
    pub(crate) since: Instant,
    /// That time is over; whether something moved after all, the operation in flight will say.
    overdue: bool,
    /// When to give that up, too: a read of a file that hangs says nothing.
    hopeless_at: Option<Instant>,
    flight: Option<(Key, Flight)>,
    /// What the socket has not taken.
    rest: Option<Rest>,
    /// What was spliced in and not out.
    pipe: Option<(Pipe, usize)>,
    /// The socket took less than there was, so that room is waited for first.
    full: bool,
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
    },
    Read {
        part: FilePart,
        from: usize,
        more: bool,
    },
    ReadThenSend {
        part: FilePart,
        from: usize,
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
        let (overdue, hopeless_at, full, plain) = (false, None, false, false);
        let (flight, rest, pipe) = (None, None, None);
        Self { outbox, stall, since, overdue, hopeless_at, flight, rest, pipe, full, plain }
    }

    /// When to look whether it stands still; after that only if it reads a file.
    pub(crate) fn until(&self) -> Option<Instant> {
        if self.overdue { self.hopeless_at } else { Some(self.since + self.stall) }
    }

    /// The time is over.
    ///
    /// # Errors
    /// What is in flight reads a file, was cancelled before and has not ended: the kernel cannot
    /// interrupt it.
    pub(crate) fn cut_short<C: Completer>(
        &mut self,
        now: Instant,
        tools: &mut Tools<C>,
    ) -> Result<(), Obstacle> {
        if self.hopeless_at.is_some_and(|at| at <= now) {
            return Err(Obstacle::TimedOut);
        }
        self.overdue = true;
        if let Some((key, flight)) = &self.flight {
            tools.completer.cancel(*key);
            let reads =
                !matches!(flight, Flight::Send { .. } | Flight::Drain { .. } | Flight::Room);
            self.hopeless_at = reads.then(|| now + CANCELLING);
        }
        Ok(())
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
        out: &mut Outlet,
        tools: &mut Tools<C>,
    ) -> Stand {
        if self.flight.is_some() {
            return Stand::Flying;
        }
        (self.overdue, self.hopeless_at) = (false, None);
        if std::mem::take(&mut self.full) {
            let key = tools.completer.start(tag, Operation::Writable(out.handle()));
            self.flight = Some((key, Flight::Room));
            return Stand::Flying;
        }
        if let Some(rest) = self.rest.take() {
            self.send(rest, tag, out, tools);
            return Stand::Flying;
        }
        if let Some((pipe, held)) = self.pipe.take() {
            self.drain(pipe, held, tag, out, tools);
            return Stand::Flying;
        }
        let plain = self.plain;
        let grants = |via| if plain { Via::Copy } else { C::grants(via) };
        let mut bytes = tools.buffers.pop().unwrap_or_default();
        let portion = self.outbox.portion(&mut bytes, MOST, grants);
        let Some(Portion { file, more }) = portion else {
            tools.give_back(bytes);
            return Stand::Sent;
        };
        match file {
            None => self.send(Rest { bytes, from: 0, more, lend: false }, tag, out, tools),
            Some(part) if part.via == Via::Splice => {
                tools.give_back(bytes);
                if let Err(errno) = self.fill(&part, tag, tools) {
                    // No pipe to be had.
                    return self.go_plain(errno, tag, out, tools);
                }
            }
            Some(part) => self.read(part, bytes, more, tag, out, tools),
        }
        Stand::Flying
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
            (Flight::Send { from, more }, Outcome::Sent { bytes, sent }) => {
                self.sent(Rest { bytes, from, more, lend: false }, sent, now, tools)
            }
            (Flight::Read { part, from, more }, Outcome::Read { mut bytes, read }) => {
                let Some(count) = self.read_some(&part, from, read)? else { return Ok(()) };
                bytes.truncate(from + count);
                part.edit(&mut bytes[from..]);
                let (more, lend) = (more || count < part.length, part.via == Via::Zerocopy);
                self.rest = Some(Rest { bytes, from: 0, more, lend });
                Ok(())
            }
            (
                Flight::ReadThenSend { part, from, more },
                Outcome::ReadThenSent { mut bytes, read, sent },
            ) => {
                let Some(count) = self.read_some(&part, from, read)? else { return Ok(()) };
                if count < part.length {
                    bytes.truncate(from + count);
                    self.rest = Some(Rest { bytes, from: 0, more: true, lend: false });
                    return Ok(());
                }
                self.sent(Rest { bytes, from: 0, more, lend: false }, sent, now, tools)
            }
            (Flight::Fill { pipe }, Outcome::Spliced(moved)) => {
                match moved {
                    // Whether it ends there, or cannot be read at all, a plain read tells.
                    Ok(0) => {
                        tools.pipes.give_back(pipe);
                        self.plain = true;
                    }
                    Ok(held) => self.pipe = Some((pipe, held)),
                    Err(errno) => match self.failed(errno) {
                        Err(Obstacle::Failed(_)) => self.plain = true,
                        waited => waited?,
                    },
                }
                Ok(())
            }
            (Flight::Drain { held, pipe }, Outcome::Spliced(moved)) => {
                self.drained(pipe, held, moved, now, tools)
            }
            (Flight::Room, Outcome::Writable(Err(errno))) => self.failed(errno),
            _ => Ok(()), // no completer mixes them up
        }
    }

    /// Begins an operation, and counts it if the outbox keeps a ledger.
    fn start<C: Completer>(&mut self, operation: Operation, tag: u64, tools: &mut Tools<C>) -> Key {
        let linked = matches!(operation, Operation::ReadThenSend { .. });
        self.outbox.count_operations(1 + u64::from(linked));
        tools.completer.start(tag, operation)
    }

    fn send<C: Completer>(&mut self, rest: Rest, tag: u64, out: &mut Outlet, tools: &mut Tools<C>) {
        if C::SENDS_BLOCK {
            out.limit();
        }
        let Rest { bytes, from, more, lend } = rest;
        let socket = out.handle();
        let operation = Operation::Send { socket, bytes, from, more, lend: lend && !self.plain };
        let key = self.start(operation, tag, tools);
        self.flight = Some((key, Flight::Send { from, more }));
    }

    fn read<C: Completer>(
        &mut self,
        part: FilePart,
        bytes: Vec<u8>,
        more: bool,
        tag: u64,
        out: &mut Outlet,
        tools: &mut Tools<C>,
    ) {
        let (from, offset) = (bytes.len() - part.length, part.offset);
        let file: Handle = Arc::clone(&part.source);
        let remote = part.device.remote;
        // A read ahead of a send would hold the socket for as long as it hangs.
        let (operation, flight) = if C::LINKS && !remote && part.is_plain() && part.via == Via::Copy
        {
            let socket = out.handle();
            let operation = Operation::ReadThenSend { file, offset, socket, bytes, from, more };
            (operation, Flight::ReadThenSend { part, from, more })
        } else {
            (
                Operation::Read { file, offset, bytes, from, remote },
                Flight::Read { part, from, more },
            )
        };
        self.flight = Some((self.start(operation, tag, tools), flight));
    }

    fn fill<C: Completer>(
        &mut self,
        part: &FilePart,
        tag: u64,
        tools: &mut Tools<C>,
    ) -> io::Result<()> {
        let pipe = tools.pipes.take()?;
        let length = part.remaining.min(MOST_SPLICED).min(pipe.capacity);
        let operation = Operation::Splice {
            from: Arc::clone(&part.source),
            offset: Some(part.offset),
            to: Arc::clone(&pipe.write) as Handle,
            length: u32::try_from(length).unwrap_or(u32::MAX),
            more: false,
        };
        let key = self.start(operation, tag, tools);
        self.flight = Some((key, Flight::Fill { pipe }));
        Ok(())
    }

    fn drain<C: Completer>(
        &mut self,
        pipe: Pipe,
        held: usize,
        tag: u64,
        out: &mut Outlet,
        tools: &mut Tools<C>,
    ) {
        // A thread of the kernel makes a blocking call.
        out.limit();
        let operation = Operation::Splice {
            from: Arc::clone(&pipe.read) as Handle,
            offset: None,
            to: out.handle(),
            length: u32::try_from(held).unwrap_or(u32::MAX),
            more: self.outbox.exceeds(held as u64),
        };
        let key = self.start(operation, tag, tools);
        self.flight = Some((key, Flight::Drain { held, pipe }));
    }

    fn go_plain<C: Completer>(
        &mut self,
        errno: Errno,
        tag: u64,
        out: &mut Outlet,
        tools: &mut Tools<C>,
    ) -> Stand {
        if self.plain {
            return Stand::Unsent(Obstacle::Failed(errno.into()));
        }
        self.plain = true;
        self.advance(tag, out, tools)
    }

    /// How many bytes of a part were read, `None` if it has to be tried again.
    fn read_some(
        &self,
        part: &FilePart,
        from: usize,
        read: io::Result<usize>,
    ) -> Result<Option<usize>, Obstacle> {
        match read {
            // What stands in front of it goes out, and then it is asked again.
            Ok(0) if from == 0 => Err(Obstacle::Truncated { missing: part.remaining }),
            Ok(count) => Ok(Some(count)),
            Err(errno) => self.failed(errno).map(|()| None),
        }
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
            Err(errno) if !self.plain && refuses_lending(errno) => self.plain = true,
            Err(errno) => self.failed(errno)?,
        }
        if rest.from < rest.bytes.len() {
            self.full = C::SENDS_BLOCK;
            self.rest = Some(rest);
        } else {
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
                    left => (self.pipe, self.full) = (Some((pipe, left)), true),
                }
            }
            // The file still has what is in the pipe.
            Err(errno) if refuses_splice(errno) => self.plain = true,
            Err(errno) => {
                self.failed(errno)?;
                (self.pipe, self.full) = (Some((pipe, held)), errno == Errno::AGAIN);
            }
        }
        Ok(())
    }

    fn moved(&mut self, count: usize, now: Instant) {
        self.outbox.advance(count);
        if count > 0 {
            self.since = now;
            (self.overdue, self.hopeless_at) = (false, None);
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

/// Whether what is in a pipe cannot go out of it by splice(2): where the page of a file could not be
/// read (`EIO`), a plain read says so once more.
fn refuses_splice(errno: Errno) -> bool {
    let unknown = matches!(errno, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM);
    unknown || matches!(errno, Errno::ACCESS | Errno::IO)
}

/// Whether a socket cannot be sent memory that it only refers to.
fn refuses_lending(errno: Errno) -> bool {
    let unknown = matches!(errno, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM);
    unknown || matches!(errno, Errno::ACCESS | Errno::NOBUFS | Errno::NOMEM)
}
