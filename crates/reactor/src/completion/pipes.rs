//! Pipes for splices in flight: pipe(7). An operation holds its ends, so they are shared.
//!
//! # Limitations
//!
//! A full pipe is two descriptors and 1 MiB of pages until the reader has received them.

use rustix::io;
use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// The number of empty pipes that an event loop keeps.
const KEPT: usize = 8;

/// The requested size.
const SIZE: usize = 1 << 20;

/// A pipe and its size.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) read: Arc<OwnedFd>,
    pub(crate) write: Arc<OwnedFd>,
    pub(crate) capacity: u64,
}

/// Empty pipes.
#[derive(Debug, Default)]
pub(crate) struct Pipes(Vec<Pipe>);

impl Pipes {
    pub(crate) fn take(&mut self) -> io::Result<Pipe> {
        if let Some(pipe) = self.0.pop() {
            return Ok(pipe);
        }
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        // The user may have too many pages in pipes already: then it keeps its size.
        let capacity = fcntl_setpipe_size(&write, SIZE).or_else(|_| fcntl_getpipe_size(&write))?;
        Ok(Pipe { read: Arc::new(read), write: Arc::new(write), capacity: capacity as u64 })
    }

    /// Keeps a pipe, which has to be empty.
    pub(crate) fn give_back(&mut self, pipe: Pipe) {
        if self.0.len() < KEPT {
            self.0.push(pipe);
        }
    }
}
