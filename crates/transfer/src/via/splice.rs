//! `splice(2)` twice: pages go into a pipe, and from the pipe to the other end.
//!
//! Since Linux 2.6.17; into a socket with `MSG_SPLICE_PAGES` since 6.5. No copy by the CPU from a
//! file or a socket to a socket, as with `sendfile`, which does the same with a pipe of the
//! kernel's own; but this pipe can be filled from a socket, too. Into a file the kernel copies.
//!
//! # SIGPIPE
//! Into a socket it knows no `MSG_NOSIGNAL`: a peer that has closed the connection raises SIGPIPE,
//! as [`sendfile`](super::sendfile#sigpipe) does, and is to be ignored or blocked in the same way.
//! With the signal ignored the error is `EPIPE`. Into a file nothing raises it.
//!
//! What it does badly: two system calls a chunk where `sendfile` makes one, and two descriptors.
//! `EAGAIN` does not say which side it means: here the pipe is filled only when it is empty and
//! emptied only when it is not, so it is always the side that is no pipe. What is in the pipe
//! stays there while the other end takes nothing, so ten thousand slow readers are ten thousand
//! pipes; where no pipe is to be had, the ladder goes on.
//!
//! Where an end is a pipe itself ([`Piped`](crate::Piped)) one call does it, without a pipe between.
//!
//! `vmsplice(2)`, memory into a pipe, is not here: it pins pages without ever saying when they are
//! free again, and what a transfer moves is in files and sockets, not in memory.

use rustix::io::{self, Errno};
use rustix::pipe::{SpliceFlags, splice};

use crate::interrupted::retry;
use crate::pipe::Pipe;
use crate::report::{Calls, Report};
use crate::step::{Piece, Stop};

/// What has left the source and not reached the other end.
#[derive(Debug, Default)]
pub(crate) struct Splice {
    held: Option<(Pipe, usize)>,
}

impl Splice {
    /// Bytes taken from the source that the other end has not.
    pub(crate) fn in_flight(&self) -> usize {
        self.held.as_ref().map_or(0, |(_, bytes)| *bytes)
    }

    /// Moves up to a chunk, first of what is in the pipe; 0 means that the source ends there.
    pub(crate) fn step(&mut self, piece: Piece<'_>, report: &mut Report) -> Result<u64, Stop> {
        let (pipe, bytes) = match self.held.take() {
            Some(held) => held,
            None => fill(piece, &mut report.calls)?,
        };
        if bytes == 0 {
            pipe.give_back();
            return Ok(0);
        }
        let mut flags = SpliceFlags::MOVE;
        flags.set(SpliceFlags::MORE, piece.more_behind(bytes));
        let mut position = piece.to.at;
        report.calls.splice += 1;
        let moved = splice(&pipe.read, None, piece.to.fd, position.as_mut(), bytes, flags);
        match bytes - moved.unwrap_or(0) {
            0 => pipe.give_back(),
            left => self.held = Some((pipe, left)),
        }
        moved.map(|moved| moved as u64).map_err(Stop::writing)
    }

    /// Takes what is in the pipe out of it, for another via to go on with.
    pub(crate) fn salvage(self, calls: &mut Calls) -> io::Result<Vec<u8>> {
        let Some((pipe, bytes)) = self.held else {
            return Ok(Vec::new());
        };
        let mut salvaged = vec![0; bytes];
        let mut got = 0;
        while got < bytes {
            calls.read += 1;
            match retry(|| io::read(&pipe.read, &mut salvaged[got..]))? {
                0 => return Err(Errno::IO), // its other end is ours and open
                count => got += count,
            }
        }
        pipe.give_back();
        Ok(salvaged)
    }
}

/// A pipe with what the source has, at most a chunk.
fn fill(piece: Piece<'_>, calls: &mut Calls) -> Result<(Pipe, usize), Stop> {
    let pipe = Pipe::take(piece.pipe, calls).map_err(Stop::Unavailable)?;
    let count = piece.count().min(pipe.capacity);
    let mut position = piece.from.at;
    calls.splice += 1;
    let flags = SpliceFlags::MOVE;
    match splice(piece.from.fd, position.as_mut(), &pipe.write, None, count, flags) {
        Ok(bytes) => Ok((pipe, bytes)),
        Err(errno) => {
            pipe.give_back();
            Err(Stop::reading(errno))
        }
    }
}
