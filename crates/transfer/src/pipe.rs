//! Pipes for splicing, kept by the thread: pipe(7), F_SETPIPE_SZ in fcntl(2) (Linux 2.6.35).
//!
//! A pipe is in one of two places: empty, with the thread, or holding bytes, with the transfer
//! whose bytes they are. One that is dropped with bytes in it is closed, never given back, so no
//! byte leaks into the next transfer.
//!
//! What it does badly: a pipe is two descriptors and, while it is full, as many pages as fit; and
//! the sum of the sizes of all pipes of a user is limited (`pipe-user-pages-soft`).

use rustix::fd::OwnedFd;
use rustix::io;
use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};
use std::cell::RefCell;

use crate::report::Calls;

/// Empty pipes that a thread keeps.
const KEPT: usize = 8;

thread_local! {
    static EMPTY: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

/// A pipe and how many bytes it can hold.
#[derive(Debug)]
pub(crate) struct Pipe {
    /// The size asked for.
    asked: u32,
    pub(crate) read: OwnedFd,
    pub(crate) write: OwnedFd,
    pub(crate) capacity: usize,
}

impl Pipe {
    /// An empty pipe for which `size` bytes were asked: one of the thread's, or a new one.
    pub(crate) fn take(size: u32, calls: &mut Calls) -> io::Result<Self> {
        let kept = EMPTY.with_borrow_mut(|kept| {
            let fitting = kept.iter().rposition(|pipe| pipe.asked == size)?;
            Some(kept.swap_remove(fitting))
        });
        kept.map_or_else(|| Self::new(size, calls), Ok)
    }

    /// Gives an empty pipe to the thread.
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
            // The user has too much in pipes already: then it is as large as it is.
            calls.fcntl += 1;
            fcntl_getpipe_size(&write)
        })?;
        Ok(Self { asked: size, read, write, capacity })
    }
}
