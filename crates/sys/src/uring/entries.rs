//! Submission queue entries. Each refers to memory of its operation in flight, which does not move until
//! that ends, and to descriptors that it keeps open.

use io_uring::squeue::{Entry, Flags};
use io_uring::types::Fd;
use io_uring::{IoUring, opcode};
use std::os::fd::AsRawFd as _;

use super::in_flight::{Features, InFlight};
#[cfg(feature = "fault-injection")]
use crate::faults::ring::InjectedErrnos;
use crate::operation::{Key, Operation};
use crate::provided_buffers::GROUP;
use crate::shared_fd::SharedFd;

/// In a key: the second of the two entries of an operation.
pub(super) const SECOND: u64 = 1 << 63;

/// The most bytes of one entry.
const MOST: usize = 1 << 30;

/// One entry, or two linked ones.
pub(super) struct Entries(Entry, Option<Entry>);

impl Entries {
    pub(super) fn one(entry: Entry, name: u64) -> Self {
        Self(entry.user_data(name), None)
    }

    pub(super) fn count(&self) -> u8 {
        1 + u8::from(self.1.is_some())
    }

    /// Replaces those that are to fail.
    #[cfg(feature = "fault-injection")]
    pub(super) fn with_faults(self, key: Key, injected: &mut InjectedErrnos) -> Self {
        let Self(first, second) = self;
        let links = if second.is_some() { Flags::IO_LINK } else { Flags::empty() };
        let (first, short) = injected.replace(first, key.0, links);
        let second = second.map(|second| match short {
            // As behind a read that was short by itself.
            true => injected.failing(key.0 | SECOND, libc::ECANCELED),
            false => injected.replace(second, key.0 | SECOND, Flags::empty()).0,
        });
        Self(first, second)
    }

    /// Pushes them to the submission queue, both or none; returns false if there is no room.
    pub(super) fn push(&self, ring: &mut IoUring) -> bool {
        let entries = [self.0.clone(), self.1.clone().unwrap_or_else(|| self.0.clone())];
        let count = usize::from(self.count());
        let mut queue = ring.submission();
        // SAFETY: an operation in flight owns the memory and the descriptors, on the heap or behind an `Arc`.
        // `Ring` keeps it until the kernel has sent its last completion, or forever.
        unsafe { queue.push_multiple(&entries[..count]) }.is_ok()
    }

    /// Returns the entries of an operation.
    pub(super) fn of(
        flight: &mut InFlight,
        features: Features,
        has_buffers: bool,
        key: Key,
    ) -> Self {
        let InFlight { operation, own, .. } = flight;
        let entry = match operation {
            Operation::Accept(listener) => accept(listener, features.accept_many),
            Operation::AcceptOne(listener) => accept(listener, false),
            Operation::Readable(handle) => {
                opcode::PollAdd::new(fd(handle), libc::POLLIN as u32).build()
            }
            Operation::Writable(handle) => {
                opcode::PollAdd::new(fd(handle), libc::POLLOUT as u32).build()
            }
            Operation::Receive(socket) if features.receive_many => {
                opcode::RecvMulti::new(fd(socket), GROUP).build()
            }
            Operation::Receive(socket) if has_buffers => {
                let receive = opcode::Recv::new(fd(socket), std::ptr::null_mut(), 0);
                receive.buf_group(GROUP).build().flags(Flags::BUFFER_SELECT)
            }
            Operation::Receive(socket) | Operation::ReceiveAtMost(socket, _) => {
                opcode::Recv::new(fd(socket), own.as_mut_ptr(), length(own)).build()
            }
            Operation::Send { socket, bytes, from, more, zerocopy } => {
                let meant = bytes.get(*from..).unwrap_or_default();
                send(socket, meant, *more, *zerocopy)
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
            Operation::Open(lookup) => lookup.entry(),
        };
        Self::one(entry, key.0)
    }
}

fn accept(listener: &SharedFd, many: bool) -> Entry {
    // Not SOCK_NONBLOCK: with it an operation would return EAGAIN instead of waiting.
    let flags = libc::SOCK_CLOEXEC;
    if many {
        return opcode::AcceptMulti::new(fd(listener)).flags(flags).build();
    }
    let (address, length) = (std::ptr::null_mut(), std::ptr::null_mut());
    opcode::Accept::new(fd(listener), address, length).flags(flags).build()
}

/// A full socket is `EAGAIN` (`MSG_DONTWAIT`): an entry that waited for room would keep its buffer.
fn send(socket: &SharedFd, bytes: &[u8], more: bool, zerocopy: bool) -> Entry {
    let more = if more { libc::MSG_MORE } else { 0 };
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT | more;
    let (start, length) = (bytes.as_ptr(), length(bytes));
    if zerocopy {
        return opcode::SendZc::new(fd(socket), start, length).flags(flags).build();
    }
    opcode::Send::new(fd(socket), start, length).flags(flags).build()
}

fn read(file: &SharedFd, offset: u64, bytes: &mut [u8], from: usize) -> Entry {
    let room = bytes.get_mut(from..).unwrap_or_default();
    let length = length(room);
    opcode::Read::new(fd(file), room.as_mut_ptr(), length).offset(offset).build()
}

fn fd(handle: &SharedFd) -> Fd {
    Fd((**handle).as_fd().as_raw_fd())
}

fn length(bytes: &[u8]) -> u32 {
    bytes.len().min(MOST) as u32
}
