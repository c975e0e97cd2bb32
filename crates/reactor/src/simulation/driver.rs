//! A completion model whose operations a schedule makes by system calls: late, in any order, partly, or by an error.
//!
//! It keeps the contract of [`Driver`]: an operation owns its buffer and its descriptors until its last completion, and
//! each completes, also a cancelled one, with its result if it was faster.
//!
//! # Limitations
//!
//! It accepts no connections, and zero-copy sends copy.

use std::cell::Cell;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use karez_sys::simulation::{self, Point, below, happens, part_of};
use karez_sys::{Completion, Key, Operation, Outcome, Received, SharedFd};
use karez_transfer::Via;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{self, Errno};
use rustix::net::{RecvFlags, SendFlags};
use rustix::pipe::{SpliceFlags, splice};

use super::waited::Waited;
use crate::driver::Driver;
use crate::models::uring::{Uring, UringSocket};

/// The most bytes of a receive: those of a provided buffer of a ring.
const MOST_RECEIVED: usize = 16 << 10;

/// Operations in flight.
pub(super) struct ScheduledDriver {
    operations: Vec<Started>,
    next: u64,
    waited: Rc<Cell<Waited>>,
    count: Rc<Cell<usize>>,
}

struct Started {
    key: Key,
    tag: u64,
    operation: Operation,
    cancelled: bool,
}

/// The result of one try to complete an operation.
enum Try {
    /// It has to wait.
    Waits(Operation),
    /// A completion, behind which others follow.
    More(Operation, Outcome),
    Last(Outcome),
}

impl ScheduledDriver {
    /// Returns a driver, and the number of its operations in flight.
    pub(super) fn scheduled(waited: Rc<Cell<Waited>>) -> (Self, Rc<Cell<usize>>) {
        let count = Rc::default();
        (Self { operations: Vec::new(), next: 0, waited, count: Rc::clone(&count) }, count)
    }
}

impl Driver for ScheduledDriver {
    const LINKED_READ_SEND: bool = Uring::LINKED_READ_SEND;
    const ASYNC_OPEN: bool = Uring::ASYNC_OPEN;

    type Socket = UringSocket;

    fn supported_via(via: Via) -> Via {
        Uring::supported_via(via)
    }

    fn new() -> io::Result<Self> {
        Ok(Self::scheduled(Rc::default()).0)
    }

    fn start(&mut self, tag: u64, operation: Operation) -> Key {
        let key = simulation::key(self.next);
        self.next += 1;
        self.operations.push(Started { key, tag, operation, cancelled: false });
        self.count.set(self.operations.len());
        key
    }

    fn cancel(&mut self, key: Key) {
        if let Some(started) = self.operations.iter_mut().find(|started| started.key == key) {
            started.cancelled = true;
        }
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Completion>) -> io::Result<()> {
        let mut waited = Waited::begin(&self.waited, timeout)?;
        let mut untried = std::mem::take(&mut self.operations);
        while !untried.is_empty() {
            let mut started = untried.swap_remove(below(untried.len()));
            if happens(Point::Late) {
                waited.late += 1;
                self.operations.push(started);
                continue;
            }
            let (key, tag, cancelled) = (started.key, started.tag, started.cancelled);
            let (last, outcome) = match attempt(started.operation, cancelled) {
                Try::Waits(operation) => {
                    started.operation = operation;
                    self.operations.push(started);
                    continue;
                }
                Try::More(operation, outcome) => {
                    started.operation = operation;
                    self.operations.push(started);
                    (false, outcome)
                }
                Try::Last(outcome) => (true, outcome),
            };
            waited.delivered += 1;
            done.push(Completion { tag, key, last, outcome });
        }
        self.waited.set(waited);
        self.count.set(self.operations.len());
        Ok(())
    }
}

/// Tries to complete an operation. One that was cancelled completes in any case.
fn attempt(operation: Operation, cancelled: bool) -> Try {
    let is_accept = matches!(operation, Operation::Accept(_) | Operation::AcceptOne(_));
    if cancelled && (below(2) == 0 || is_accept) {
        return Try::Last(failed(operation, Errno::CANCELED));
    }
    if happens(Point::EndsEarly) {
        // What the code above takes for an early end.
        let errnos = match operation {
            Operation::Receive(_) => [Errno::NOBUFS, Errno::INTR, Errno::AGAIN],
            Operation::Open(_) => [Errno::CANCELED, Errno::INVAL, Errno::AGAIN],
            _ => [Errno::AGAIN, Errno::INTR, Errno::CANCELED],
        };
        if !matches!(operation, Operation::Readable(_) | Operation::Writable(_)) && !is_accept {
            return Try::Last(failed(operation, errnos[below(errnos.len())]));
        }
    }
    match try_once(operation) {
        Try::Waits(operation) if cancelled => Try::Last(failed(operation, Errno::CANCELED)),
        // A multishot receive may complete once more before the cancellation.
        tried => tried,
    }
}

fn try_once(operation: Operation) -> Try {
    match operation {
        Operation::Readable(fd) => match is_ready(&fd, PollFlags::IN) {
            true => Try::Last(Outcome::Readable),
            false => Try::Waits(Operation::Readable(fd)),
        },
        Operation::Writable(fd) => match is_ready(&fd, PollFlags::OUT) {
            true => Try::Last(Outcome::Writable(Ok(()))),
            false => Try::Waits(Operation::Writable(fd)),
        },
        Operation::Receive(fd) => match receive(&fd, MOST_RECEIVED) {
            Err(Errno::AGAIN) => Try::Waits(Operation::Receive(fd)),
            Ok(bytes) if !bytes.is_empty() && below(8) > 0 => {
                Try::More(Operation::Receive(fd), Outcome::Received(Ok(Received::Owned(bytes))))
            }
            received => Try::Last(Outcome::Received(received.map(Received::Owned))),
        },
        Operation::ReceiveAtMost(fd, most) => match receive(&fd, most) {
            Err(Errno::AGAIN) => Try::Waits(Operation::ReceiveAtMost(fd, most)),
            received => Try::Last(Outcome::Received(received.map(Received::Owned))),
        },
        Operation::Send { socket, bytes, from, zerocopy, .. } => {
            let sent = match zerocopy && happens(Point::Unsupported) {
                true => Err(Errno::OPNOTSUPP),
                false => send(&socket, &bytes[from..]),
            };
            // The kernel may refer to the buffer for longer.
            let kept = zerocopy && sent.is_ok_and(|count| count == bytes.len() - from);
            let bytes = if kept && below(2) == 0 { Vec::new() } else { bytes };
            Try::Last(Outcome::Sent { bytes, sent })
        }
        Operation::Read { file, offset, mut bytes, from, .. } => {
            let read = read(&file, &mut bytes[from..], offset);
            Try::Last(Outcome::Read { bytes, read })
        }
        Operation::ReadThenSend { file, offset, socket, mut bytes, from, .. } => {
            let requested = bytes.len() - from;
            let read = read(&file, &mut bytes[from..], offset);
            let sent = match read {
                Ok(count) if count == requested => send(&socket, &bytes),
                _ => Err(Errno::CANCELED),
            };
            Try::Last(Outcome::ReadThenSent { bytes, read, sent })
        }
        Operation::Splice { from, offset, to, length, .. } => {
            Try::Last(Outcome::Spliced(move_pages(&from, offset, &to, length)))
        }
        Operation::Open(request) => Try::Last(Outcome::Opened(request.open())),
        accept @ (Operation::Accept(_) | Operation::AcceptOne(_)) => Try::Waits(accept),
    }
}

/// Returns the completion of an operation that has moved nothing.
fn failed(operation: Operation, errno: Errno) -> Outcome {
    match operation {
        Operation::Accept(_) | Operation::AcceptOne(_) => Outcome::Accepted(Err(errno)),
        Operation::Readable(_) => Outcome::Readable,
        Operation::Writable(_) => Outcome::Writable(Err(errno)),
        Operation::Receive(_) | Operation::ReceiveAtMost(..) => Outcome::Received(Err(errno)),
        Operation::Send { bytes, .. } => Outcome::Sent { bytes, sent: Err(errno) },
        Operation::Read { bytes, .. } => Outcome::Read { bytes, read: Err(errno) },
        Operation::ReadThenSend { bytes, .. } => {
            Outcome::ReadThenSent { bytes, read: Err(errno), sent: Err(Errno::CANCELED) }
        }
        Operation::Splice { .. } => Outcome::Spliced(Err(errno)),
        Operation::Open(_) => Outcome::Opened(Err(errno)),
    }
}

fn is_ready(fd: &SharedFd, wanted: PollFlags) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(borrow(fd), wanted)];
    poll(&mut fds, Some(&Timespec::default())).is_ok_and(|count| count > 0)
}

fn receive(socket: &SharedFd, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; part_of(most)];
    let (count, _) = rustix::net::recv(borrow(socket), &mut bytes[..], RecvFlags::DONTWAIT)?;
    bytes.truncate(count);
    Ok(bytes)
}

fn send(socket: &SharedFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    rustix::net::send(borrow(socket), &bytes[..part_of(bytes.len())], flags)
}

fn read(file: &SharedFd, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    if happens(Point::ReadFails) {
        return Err(Errno::IO);
    }
    let count = part_of(buffer.len());
    rustix::io::pread(borrow(file), &mut buffer[..count], offset)
}

fn move_pages(
    from: &SharedFd,
    offset: Option<u64>,
    to: &SharedFd,
    length: u32,
) -> io::Result<usize> {
    if happens(Point::Unsupported) {
        return Err(Errno::INVAL);
    }
    let length = part_of(usize::try_from(length).unwrap_or(0));
    let (from, to) = (Arc::clone(from), Arc::clone(to));
    let mut offset = offset;
    splice(borrow(&from), offset.as_mut(), borrow(&to), None, length, SpliceFlags::NONBLOCK)
}

fn borrow(fd: &SharedFd) -> BorrowedFd<'_> {
    (**fd).as_fd()
}
