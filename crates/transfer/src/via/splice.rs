//! `splice(2)` twice: pages go from the page cache into a pipe, and from the pipe to the socket.
//!
//! Since Linux 2.6.17. No copy by the CPU, as with `sendfile`, which does the same with a pipe of
//! the kernel's own; but this pipe can be filled from a socket, too, and looked at with `tee`.
//!
//! What it does badly: two system calls a chunk where `sendfile` makes one, and two descriptors.
//! `EAGAIN` does not say which side it means: here only the socket can, for the pipe is filled
//! only when it is empty. What is in the pipe stays there while the socket takes nothing, so ten
//! thousand slow readers are ten thousand pipes; where no pipe is to be had, the ladder goes on.

use rustix::io;
use rustix::pipe::{SpliceFlags, splice};
use std::os::fd::BorrowedFd;

use super::sendfile::CHUNK;
use crate::pipe::Pipe;
use crate::report::Calls;
use crate::step::Piece;

/// What has left the file and not reached the socket.
#[derive(Debug, Default)]
pub(crate) struct Splice {
    filled: Option<(Pipe, usize)>,
}

impl Splice {
    /// Sends up to `len` bytes from `offset`, which is where the bytes in the pipe begin; 0 means
    /// that the file ends there. `more` says that the outbox has something behind these bytes.
    pub(crate) fn step(&mut self, piece: Piece<'_>, calls: &mut Calls) -> io::Result<u64> {
        let Piece { file, offset, len, out, more } = piece;
        let (pipe, bytes) = match self.filled.take() {
            Some(filled) => filled,
            None => fill(file, offset, len, calls)?,
        };
        if bytes == 0 {
            pipe.give_back();
            return Ok(0);
        }
        let mut flags = SpliceFlags::MOVE;
        flags.set(SpliceFlags::MORE, more || (bytes as u64) < len);
        calls.splice += 1;
        match splice(&pipe.read, None, out, None, bytes, flags) {
            Ok(sent) if sent < bytes => {
                self.filled = Some((pipe, bytes - sent));
                Ok(sent as u64)
            }
            Ok(sent) => {
                pipe.give_back();
                Ok(sent as u64)
            }
            Err(errno) => {
                self.filled = Some((pipe, bytes));
                Err(errno)
            }
        }
    }
}

/// A pipe with what the file has, at most a chunk.
fn fill(
    file: BorrowedFd<'_>,
    offset: u64,
    len: u64,
    calls: &mut Calls,
) -> io::Result<(Pipe, usize)> {
    let pipe = Pipe::take()?;
    let count = usize::try_from(len.min(CHUNK)).unwrap_or(usize::MAX).min(pipe.capacity);
    let mut position = offset;
    calls.splice += 1;
    match splice(file, Some(&mut position), &pipe.write, None, count, SpliceFlags::MOVE) {
        Ok(bytes) => Ok((pipe, bytes)),
        Err(errno) => {
            pipe.give_back();
            Err(errno)
        }
    }
}
