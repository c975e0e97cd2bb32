//! `splice(2)` twice: pages pass into a pipe, and from the pipe to the sink.
//!
//! Since Linux 2.6.17; into a socket with `MSG_SPLICE_PAGES` since 6.5. No copy by the CPU from a
//! file or a socket to a socket, as with `sendfile`, which does the same with a pipe inside the
//! kernel; but this pipe can be filled from a socket, too. Into a file the kernel copies.
//!
//! # SIGPIPE
//! Into a socket it knows no `MSG_NOSIGNAL`: a peer that has closed the connection raises SIGPIPE,
//! as [`sendfile`](super::sendfile#sigpipe) does; ignore or block it in the same way.
//! With the signal ignored the error is `EPIPE`. Into a file it raises none.
//!
//! # Limitations
//!
//! Two system calls a chunk where `sendfile` makes one, and two descriptors. `EAGAIN` does not tell the
//! two sides apart: here the pipe is filled only when it is empty and emptied only when it is not, so
//! the side that is not the pipe blocks. Bytes stay in the pipe while the sink has no room, so ten
//! thousand slow readers need ten thousand pipes; without a pipe the transfer falls back.
//!
//! If an end is a pipe itself ([`Piped`](crate::Piped)), one call moves the bytes, without a second
//! pipe.
//!
//! `vmsplice(2)`, memory into a pipe, is not used: it pins pages without any notification when they are
//! free again, and a transfer moves bytes of files and sockets, not of memory.

use rustix::pipe::{SpliceFlags, splice};
use std::io;

use crate::backend::Backend;
use crate::calls::Calls;
use crate::interrupted::retry;
use crate::pipe::Pipe;
use crate::report::{Reason, Report};
use crate::step::{Blocked, Request};

/// Bytes in a pipe that have left the source and not reached the sink.
#[derive(Debug, Default)]
pub(crate) struct Splice {
    held: Option<(Pipe, usize)>,
}

impl Backend for Splice {
    fn step(&mut self, request: Request<'_>, report: &mut Report) -> Result<u64, Blocked> {
        let (pipe, bytes) = match self.held.take() {
            Some(held) => held,
            None => fill(request, &mut report.calls)?,
        };
        if bytes == 0 {
            pipe.give_back();
            return Ok(0);
        }
        // An earlier step may have asked for more than this one may move.
        let count = bytes.min(request.count());
        let mut flags = SpliceFlags::MOVE;
        flags.set(SpliceFlags::MORE, request.more_behind(count));
        let mut position = request.to.at;
        report.calls.splice += 1;
        let moved = splice(&pipe.read, None, request.to.fd, position.as_mut(), count, flags);
        match bytes - moved.unwrap_or(0) {
            0 => pipe.give_back(),
            left => self.held = Some((pipe, left)),
        }
        moved.map(|moved| moved as u64).map_err(Blocked::writing)
    }

    fn reads_pages(&self) -> bool {
        self.held.is_none()
    }

    fn buffered(&self) -> usize {
        self.held.as_ref().map_or(0, |(_, bytes)| *bytes)
    }

    /// Reads the pipe empty.
    fn take_buffered(&mut self, calls: &mut Calls) -> io::Result<Vec<u8>> {
        let Some((pipe, bytes)) = self.held.take() else {
            return Ok(Vec::new());
        };
        let mut buffer = vec![0; bytes];
        let mut got = 0;
        while got < bytes {
            calls.read += 1;
            match retry(|| rustix::io::read(&pipe.read, &mut buffer[got..]))? {
                // Impossible, because this process holds the open write end.
                0 => return Err(io::Error::other("the pipe of a transfer has lost bytes")),
                count => got += count,
            }
        }
        pipe.give_back();
        Ok(buffer)
    }
}

/// Returns a pipe with the next bytes of the source, at most a chunk.
fn fill(request: Request<'_>, calls: &mut Calls) -> Result<(Pipe, usize), Blocked> {
    let pipe = Pipe::take(request.pipe_size, calls)
        .map_err(|errno| Blocked::Unavailable(Reason::Errno(errno)))?;
    let count = request.count().min(pipe.capacity);
    let mut position = request.from.at;
    calls.splice += 1;
    let flags = SpliceFlags::MOVE;
    match splice(request.from.fd, position.as_mut(), &pipe.write, None, count, flags) {
        Ok(bytes) => Ok((pipe, bytes)),
        Err(errno) => {
            pipe.give_back();
            Err(Blocked::reading(errno))
        }
    }
}
