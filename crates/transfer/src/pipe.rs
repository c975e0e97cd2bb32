//! Pipes for splicing, pooled per thread: pipe(7), F_SETPIPE_SZ in fcntl(2) (Linux 2.6.35).
//!
//! A pipe is either empty and in the pool, or holds bytes and belongs to their transfer. A pipe that is
//! dropped with bytes in it is closed, not pooled, so no byte leaks into the next transfer.
//!
//! # Limitations
//!
//! A pipe is two descriptors and, while it is full, as many pages as fit; the sum of the sizes of all
//! pipes of a user is limited (`pipe-user-pages-soft`).

use rustix::fd::OwnedFd;
use rustix::io;
use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};
use std::cell::RefCell;

use crate::calls::Calls;

/// The most empty pipes in the pool of a thread.
const KEPT: usize = 8;

thread_local! {
    static EMPTY: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

/// A pipe with its capacity in bytes.
#[derive(Debug)]
pub(crate) struct Pipe {
    /// The requested size.
    requested: u32,
    pub(crate) read: OwnedFd,
    pub(crate) write: OwnedFd,
    pub(crate) capacity: usize,
}

impl Pipe {
    /// Returns an empty pipe of the requested size from the pool, or a new one.
    pub(crate) fn take(size: u32, calls: &mut Calls) -> io::Result<Self> {
        let kept = EMPTY.with_borrow_mut(|kept| {
            let fitting = kept.iter().rposition(|pipe| pipe.requested == size)?;
            Some(kept.swap_remove(fitting))
        });
        kept.map_or_else(|| Self::new(size, calls), Ok)
    }

    /// Returns an empty pipe to the pool.
    pub(crate) fn give_back(self) {
        EMPTY.with_borrow_mut(|kept| {
            if kept.len() < KEPT {
                kept.push(self);
            }
        });
    }

    fn new(size: u32, calls: &mut Calls) -> io::Result<Self> {
        calls.pipe2 += 1;
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        calls.fcntl += 1;
        let capacity = fcntl_setpipe_size(&write, size as usize).or_else(|_| {
            // The user's limit for pipes is reached: the size stays the default.
            calls.fcntl += 1;
            fcntl_getpipe_size(&write)
        })?;
        Ok(Self { requested: size, read, write, capacity })
    }
}
