//! Faults of operations of a ring, decided when they are submitted.
//!
//! An operation that is to fail is replaced by a read of the descriptor -1, which fails at once and
//! cancels what is linked behind it; its completion then gets the errno of the plan. The kernel
//! is asked for fewer bytes where a result is to be short.

use io_uring::squeue::{Entry, Flags};
use io_uring::types::Fd;
use io_uring::{cqueue, opcode};
use std::collections::HashMap;
use std::time::Duration;

use super::board;
use super::calls::{CALLS, Length, position};
use super::plan::Effect;

/// The errnos of the operations in flight that were replaced, by their names.
#[derive(Default)]
pub(crate) struct InjectedErrnos(HashMap<u64, i32>);

impl InjectedErrnos {
    /// Returns the entry to be submitted instead of this one, which has this name and these flags, and whether the
    /// kernel is asked for less.
    pub(crate) fn replace(&mut self, mut entry: Entry, name: u64, flags: Flags) -> (Entry, bool) {
        let Some(board) = board::current() else { return (entry, false) };
        let Some(call) = call_of(&entry) else { return (entry, false) };
        match board.decide(call) {
            Some((Effect::Errno(errno), _)) => {
                (self.failing(name, errno.into()).flags(flags), false)
            }
            Some((Effect::Short, random)) if CALLS[call].length == Length::Entry => {
                shorten(&mut entry, random);
                (entry, true)
            }
            Some((Effect::Delay(milliseconds), _)) => {
                std::thread::sleep(Duration::from_millis(milliseconds.into()));
                (entry, false)
            }
            Some((Effect::Short, _)) | None => (entry, false),
        }
    }

    /// Returns an entry that fails with this errno.
    pub(crate) fn failing(&mut self, name: u64, errno: i32) -> Entry {
        self.0.insert(name, errno);
        opcode::Read::new(Fd(-1), std::ptr::null_mut(), 0).build().user_data(name)
    }

    /// Returns the result of a completion.
    pub(crate) fn result(&mut self, name: u64, result: i32, flags: u32) -> (i32, u32) {
        match self.0.remove(&name) {
            Some(errno) if !cqueue::more(flags) => (-errno, 0),
            _ => (result, flags),
        }
    }
}

/// Where `struct io_uring_sqe` has its operation and its length.
const OPCODE: usize = 0;
const LENGTH: usize = 24;

fn call_of(entry: &Entry) -> Option<usize> {
    let start = (&raw const *entry).cast::<u8>();
    // SAFETY: an entry is a transparent `struct io_uring_sqe` of 64 bytes.
    let operation = unsafe { start.wrapping_add(OPCODE).read() };
    let name = match operation {
        opcode::Accept::CODE => "uring-accept",
        opcode::Recv::CODE => "uring-recv",
        opcode::Send::CODE | opcode::SendZc::CODE => "uring-send",
        opcode::Read::CODE => "uring-read",
        opcode::Splice::CODE => "uring-splice",
        opcode::OpenAt2::CODE => "uring-openat2",
        opcode::Statx::CODE => "uring-statx",
        opcode::PollAdd::CODE => "uring-poll",
        _ => return None,
    };
    position(name)
}

fn shorten(entry: &mut Entry, random: u64) {
    let start = (&raw mut *entry).cast::<u8>();
    // SAFETY: as above; the length is an aligned number of 32 bits.
    let length = unsafe { start.wrapping_add(LENGTH).cast::<u32>().as_mut() };
    if let Some(length) = length
        && *length > 1
    {
        // In the range of the length, and not 0.
        *length = 1 + (random % u64::from(*length - 1)) as u32;
    }
}

const _: () = assert!(size_of::<Entry>() == 64);
