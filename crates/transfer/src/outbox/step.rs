//! The steps of an outbox: its chunks sent by system calls.

use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::gather::{Gather, Gathered};
use super::{Chunk, Outbox, ReportMisses};
use crate::interrupted::retry;
use crate::run_blocking::{self, Waits};
use crate::scratch;
use crate::step::Progress;
use crate::version::Changed;
use crate::via::Via;

/// The most bytes that are gathered for one send.
const GATHER: usize = 64 << 10;

impl Outbox {
    /// Sends a bounded amount to `out`: one piece of memory, one step of a file or one buffer of
    /// gathered segments.
    ///
    /// # Errors
    /// As [`FileToSocket::step`](crate::FileToSocket::step). The position in the outbox stays the same.
    pub fn step(&mut self, out: BorrowedFd<'_>) -> io::Result<Progress> {
        let progress = self.step_front(out)?;
        if matches!(progress, Progress::Moved(_)) && self.is_empty() {
            return Ok(Progress::Done);
        }
        Ok(progress)
    }

    /// Sends all bytes on the calling thread, which blocks on the disk. On a non-blocking socket it waits
    /// with poll(2).
    ///
    /// ```
    /// use karez_transfer::{FileToSocket, Outbox, Via};
    /// # use std::{io::Write, os::unix::net::UnixStream, sync::Arc};
    /// # fn main() -> std::io::Result<()> {
    /// # let mut file = tempfile::tempfile()?;
    /// # file.write_all(b"under the desert")?;
    /// # let (socket, _peer) = UnixStream::pair()?;
    /// let mut outbox = Outbox::from(b"water: ".to_vec());
    /// outbox.push_file(FileToSocket::new(Arc::new(file), 6..16, Via::Auto));
    /// outbox.run_blocking(&socket)?;
    /// assert_eq!(outbox.moved(), 17);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`step`](Self::step). A file that ends early is `UnexpectedEof` with
    /// [`Truncated`](crate::Truncated) inside; an expired `SO_SNDTIMEO` is `TimedOut`.
    pub fn run_blocking(&mut self, out: impl AsFd) -> io::Result<()> {
        let out = out.as_fd();
        let waits = Waits { sink: Some(out), ..Waits::default() };
        (self.misses, self.remote_misses) = (ReportMisses::None, false);
        self.block_on_misses();
        run_blocking::run(self, waits, |outbox| outbox.step(out))
    }

    /// Keeps only the unsent bytes of a record: the socket takes no more for now.
    #[doc(hidden)]
    pub fn shrink_record(&mut self) {
        if let Some(sealing) = self.sealing.as_mut().filter(|sealing| sealing.has_record()) {
            sealing.shrink();
        }
    }

    fn step_front(&mut self, out: BorrowedFd<'_>) -> io::Result<Progress> {
        match self.next_chunk(|_| false) {
            Chunk::Empty => Ok(Progress::Done),
            Chunk::Memory { more } => {
                let plain = self.sent;
                match self.send_some(out, None, more)? {
                    None => {
                        self.shrink_record();
                        Ok(Progress::NeedsWritable)
                    }
                    Some(count) => {
                        let sealed = self.record().is_some();
                        self.complete(count);
                        // Plaintext of a record counts when all of it has been sent, but bytes move.
                        Ok(Progress::Moved(if sealed { count as u64 } else { self.sent - plain }))
                    }
                }
            }
            Chunk::File { more } => self.step_file(out, more),
            Chunk::Gather => match self.step_vectored(out)? {
                Some(progress) => Ok(progress),
                None => self.step_gather(out),
            },
            Chunk::Record => match self.send_record(out, SendFlags::empty())? {
                None => Ok(Progress::NeedsWritable),
                Some(count) => Ok(Progress::Moved(count as u64)),
            },
            Chunk::Switch => self.switch(out).map(|()| Progress::Moved(0)),
        }
    }

    fn step_file(&mut self, out: BorrowedFd<'_>, more: bool) -> io::Result<Progress> {
        let records = self.socket_records;
        let Some(transfer) = self.file() else {
            return Ok(Progress::Done);
        };
        let before = transfer.remaining();
        let progress = transfer.step_before(out, more, records);
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

    /// Gathers the next segments, and sends them by one call.
    fn step_gather(&mut self, out: BorrowedFd<'_>) -> io::Result<Progress> {
        let most = usize::try_from(self.queued).unwrap_or(GATHER).min(GATHER);
        let mut gather = self.gather(scratch::take(0), most);
        let gathered = self.gather_by_calls(&mut gather);
        let sent = match gathered {
            Ok(None) => self.send_gathered(out, &mut gather),
            Ok(Some(progress)) => Ok(progress),
            Err(error) => Err(error),
        };
        self.discard_gathered();
        scratch::give_back(gather.into_buffer());
        sent
    }

    /// Fills the buffer; returns the progress if the step ends with that.
    fn gather_by_calls(&mut self, gather: &mut Gather) -> io::Result<Option<Progress>> {
        while self.gather_next(gather, |_| Via::Sendfile).is_some() {
            let read = match self.gather_read(gather) {
                // No byte has been sent, and the caller can react to the signal.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    return Ok(Some(Progress::Moved(0)));
                }
                read => read?,
            };
            match self.gathered(gather, read) {
                Gathered::Next => {}
                Gathered::Cold => return Ok(Some(Progress::NeedsWorker)),
                Gathered::Changed => return Err(Changed.into()),
                Gathered::Truncated { missing } => {
                    return Ok(Some(Progress::Truncated { missing }));
                }
            }
        }
        Ok(None)
    }

    fn send_gathered(&mut self, out: BorrowedFd<'_>, gather: &mut Gather) -> io::Result<Progress> {
        let more = self.seal(gather)?;
        if self.is_sealed() {
            return self.step_front(out);
        }
        if gather.bytes().is_empty() {
            // All units in front have been removed.
            return Ok(if self.is_empty() { Progress::Done } else { Progress::Moved(0) });
        }
        match self.send_some(out, Some(gather.bytes()), more)? {
            None => Ok(Progress::NeedsWritable),
            Some(count) => {
                self.complete(count);
                Ok(Progress::Moved(count as u64))
            }
        }
    }

    /// Sends gathered bytes, or the memory in front; returns as [`sent_bytes`].
    fn send_some(
        &mut self,
        out: BorrowedFd<'_>,
        gathered: Option<&[u8]>,
        more: bool,
    ) -> io::Result<Option<usize>> {
        let mut flags = SendFlags::NOSIGNAL;
        flags.set(SendFlags::MORE, more);
        let mut attempts = 0;
        let bytes = gathered.unwrap_or_else(|| self.memory());
        let sent = retry(|| {
            attempts += 1;
            send(out, bytes, flags)
        });
        self.count_sends(attempts);
        sent_bytes(sent)
    }
}

/// Returns how many bytes a send has sent: `None` if the socket has no room, 0 if signals interrupted every attempt.
pub(super) fn sent_bytes(sent: Result<usize, Errno>) -> io::Result<Option<usize>> {
    match sent {
        Ok(sent) => Ok(Some(sent)),
        Err(Errno::AGAIN) => Ok(None),
        Err(Errno::INTR) => Ok(Some(0)),
        Err(errno) => Err(errno.into()),
    }
}
