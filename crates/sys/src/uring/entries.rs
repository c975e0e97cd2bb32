//! Operations as the kernel reads them. Each refers to memory of its flight, which stays where it
//! is until the flight is over, and to descriptors that the flight keeps open.

use io_uring::squeue::{Entry, Flags};
use io_uring::types::Fd;
use io_uring::{IoUring, opcode};
use std::os::fd::AsRawFd as _;

use super::{Can, Flight, GROUP};
use crate::operation::{Handle, Key, Operation};

/// In a name: the second of the two entries of an operation.
pub(super) const SECOND: u64 = 1 << 63;

/// The most bytes that one entry is asked for.
const MOST: usize = 1 << 30;

/// One entry, or two of which the second waits for the first.
pub(super) struct Entries(Entry, Option<Entry>);

impl Entries {
    pub(super) fn one(entry: Entry, name: u64) -> Self {
        Self(entry.user_data(name), None)
    }

    pub(super) fn count(&self) -> u8 {
        1 + u8::from(self.1.is_some())
    }

    /// Puts them into the submission queue, both or none; false if there is no room.
    pub(super) fn push(&self, ring: &mut IoUring) -> bool {
        let entries = [self.0.clone(), self.1.clone().unwrap_or_else(|| self.0.clone())];
        let count = usize::from(self.count());
        let mut queue = ring.submission();
        // SAFETY: what the entries refer to is owned by a flight, on the heap or behind an `Arc`.
        // `Ring` keeps it until the kernel has sent the last completion of it, or for ever.
        unsafe { queue.push_multiple(&entries[..count]) }.is_ok()
    }

    /// The entries of an operation.
    pub(super) fn of(flight: &mut Flight, can: Can, has_buffers: bool, key: Key) -> Self {
        let Flight { operation, own, .. } = flight;
        let entry = match operation {
            Operation::Accept(listener) => accept(listener, can.accept_many),
            Operation::Readable(handle) => {
                opcode::PollAdd::new(fd(handle), libc::POLLIN as u32).build()
            }
            Operation::Writable(handle) => {
                opcode::PollAdd::new(fd(handle), libc::POLLOUT as u32).build()
            }
            Operation::Receive(socket) if can.receive_many => {
                opcode::RecvMulti::new(fd(socket), GROUP).build()
            }
            Operation::Receive(socket) if has_buffers => {
                let receive = opcode::Recv::new(fd(socket), std::ptr::null_mut(), 0);
                receive.buf_group(GROUP).build().flags(Flags::BUFFER_SELECT)
            }
            Operation::Receive(socket) | Operation::ReceiveAtMost(socket, _) => {
                opcode::Recv::new(fd(socket), own.as_mut_ptr(), length(own)).build()
            }
            Operation::Send { socket, bytes, from, more, lend } => {
                let meant = bytes.get(*from..).unwrap_or_default();
                send(socket, meant, *more, *lend)
            }
            Operation::Read { file, offset, bytes, from, remote } => {
                let entry = read(file, *offset, bytes, *from);
                if *remote { entry.flags(Flags::ASYNC) } else { entry }
            }
            Operation::ReadThenSend { file, offset, socket, bytes, from, more } => {
                let first = read(file, *offset, bytes, *from).flags(Flags::IO_LINK);
                let second = send(socket, bytes, *more, false).user_data(key.0 | SECOND);
                return Self(first.user_data(key.0), Some(second));
            }
            Operation::Splice { from, offset, to, length, more } => {
                let offset = offset.and_then(|offset| i64::try_from(offset).ok());
                let more = if *more { libc::SPLICE_F_MORE } else { 0 };
                opcode::Splice::new(fd(from), offset.unwrap_or(-1), fd(to), -1, *length)
                    .flags(libc::SPLICE_F_MOVE | more)
                    .build()
            }
            Operation::LookUp(lookup) => lookup.entry(),
        };
        Self::one(entry, key.0)
    }
}

fn accept(listener: &Handle, many: bool) -> Entry {
    // Not SOCK_NONBLOCK: with it an operation would end by EAGAIN instead of waiting.
    let flags = libc::SOCK_CLOEXEC;
    if many {
        return opcode::AcceptMulti::new(fd(listener)).flags(flags).build();
    }
    let nobody = (std::ptr::null_mut(), std::ptr::null_mut());
    opcode::Accept::new(fd(listener), nobody.0, nobody.1).flags(flags).build()
}

fn send(socket: &Handle, bytes: &[u8], more: bool, lend: bool) -> Entry {
    let flags = libc::MSG_NOSIGNAL | if more { libc::MSG_MORE } else { 0 };
    let (start, length) = (bytes.as_ptr(), length(bytes));
    if lend {
        return opcode::SendZc::new(fd(socket), start, length).flags(flags).build();
    }
    opcode::Send::new(fd(socket), start, length).flags(flags).build()
}

fn read(file: &Handle, offset: u64, bytes: &mut [u8], from: usize) -> Entry {
    let room = bytes.get_mut(from..).unwrap_or_default();
    let length = length(room);
    opcode::Read::new(fd(file), room.as_mut_ptr(), length).offset(offset).build()
}

fn fd(handle: &Handle) -> Fd {
    Fd((**handle).as_fd().as_raw_fd())
}

fn length(bytes: &[u8]) -> u32 {
    bytes.len().min(MOST) as u32
}
