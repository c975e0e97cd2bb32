//! The steps of an outbox: its chunks moved by system calls on a socket.

use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use std::io;
use std::os::fd::BorrowedFd;

use super::gather::Gathered;
use super::{Chunk, Outbox};
use crate::interrupted::retry;
use crate::scratch;
use crate::step::Progress;
use crate::via::Via;

/// The most bytes that are gathered for one send.
const GATHER: usize = 64 << 10;

impl Outbox {
    /// Moves a bounded amount into `out`: one piece of memory, one share of a file or one buffer of
    /// gathered pieces.
    ///
    /// # Errors
    /// As [`FileToSocket::step`](crate::FileToSocket::step). The outbox stands where it stood.
    pub fn step(&mut self, out: BorrowedFd<'_>) -> io::Result<Progress> {
        let progress = self.step_front(out)?;
        if matches!(progress, Progress::Moved(_)) && self.is_empty() {
            return Ok(Progress::Done);
        }
        Ok(progress)
    }

    fn step_front(&mut self, out: BorrowedFd<'_>) -> io::Result<Progress> {
        match self.next_chunk(|_| false) {
            Chunk::Empty => Ok(Progress::Done),
            Chunk::Memory { more } => {
                let plain = self.sent;
                self.count_send();
                match send_some(out, self.memory(), more)? {
                    None => Ok(Progress::NeedsWritable),
                    Some(count) => {
                        let sealed = self.record().is_some();
                        self.complete(count);
                        // Of a record nothing counts before all of it has left, but it moves.
                        Ok(Progress::Moved(if sealed { count as u64 } else { self.sent - plain }))
                    }
                }
            }
            Chunk::File { more } => self.step_file(out, more),
            Chunk::Gather => self.step_gather(out),
        }
    }

    fn step_file(&mut self, out: BorrowedFd<'_>, more: bool) -> io::Result<Progress> {
        let Some(transfer) = self.file() else {
            return Ok(Progress::Done);
        };
        let before = transfer.remaining();
        let progress = transfer.step_before(out, more);
        let moved = before - transfer.remaining();
        let done = transfer.is_done();
        self.count_sent(moved);
        if done {
            self.drop_front();
            self.pass_marks();
            if more && matches!(progress, Ok(Progress::Done)) {
                return self.step_front(out);
            }
        }
        progress
    }

    /// Gathers what leaves together, and sends it in one call.
    fn step_gather(&mut self, out: BorrowedFd<'_>) -> io::Result<Progress> {
        let most = usize::try_from(self.queued).unwrap_or(GATHER).min(GATHER);
        let mut gather = self.gather(scratch::take(0), most);
        let gathered = self.gather_by_calls(&mut gather);
        let sent = match gathered {
            Ok(None) => self.send_gathered(out, &mut gather),
            Ok(Some(progress)) => Ok(progress),
            Err(error) => Err(error),
        };
        self.release();
        scratch::give_back(gather.into_buffer());
        sent
    }

    /// Fills the buffer; returns how far the step came if it ends with that.
    fn gather_by_calls(&mut self, gather: &mut super::Gather) -> io::Result<Option<Progress>> {
        while self.gather_next(gather, |_| Via::Sendfile).is_some() {
            let read = match self.gather_read(gather) {
                // Nothing has left, and the caller has a look at the signal.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    return Ok(Some(Progress::Moved(0)));
                }
                read => read?,
            };
            match self.gathered(gather, read) {
                Gathered::Next => {}
                Gathered::Cold => return Ok(Some(Progress::NeedsWorker)),
                Gathered::Truncated { missing } => {
                    return Ok(Some(Progress::Truncated { missing }));
                }
            }
        }
        Ok(None)
    }

    fn send_gathered(
        &mut self,
        out: BorrowedFd<'_>,
        gather: &mut super::Gather,
    ) -> io::Result<Progress> {
        let more = self.seal(gather)?;
        if self.is_sealed() {
            return self.step_front(out);
        }
        if gather.bytes().is_empty() {
            // All units in front have been taken back.
            return Ok(if self.is_empty() { Progress::Done } else { Progress::Moved(0) });
        }
        self.count_send();
        match send_some(out, gather.bytes(), more)? {
            None => Ok(Progress::NeedsWritable),
            Some(count) => {
                self.complete(count);
                Ok(Progress::Moved(count as u64))
            }
        }
    }
}

/// One `send`; `None` when the socket takes nothing now, 0 when signals interrupt it every time.
fn send_some(out: BorrowedFd<'_>, bytes: &[u8], more: bool) -> io::Result<Option<usize>> {
    let mut flags = SendFlags::NOSIGNAL;
    flags.set(SendFlags::MORE, more);
    match retry(|| send(out, bytes, flags)) {
        Ok(sent) => Ok(Some(sent)),
        Err(Errno::AGAIN) => Ok(None),
        Err(Errno::INTR) => Ok(Some(0)),
        Err(errno) => Err(errno.into()),
    }
}
