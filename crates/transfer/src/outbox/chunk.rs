//! The pull side of the outbox: the next bytes to send, for every kind of event loop.

use super::Outbox;
use super::segment::Segment;
use crate::file_to_socket::FileToSocket;
use crate::seal::RecordKind;

/// The next bytes to send.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// Memory ([`Outbox::memory`]).
    Memory {
        /// More bytes follow, so it may be sent with `MSG_MORE`.
        more: bool,
    },
    /// The rest of a file, moved by its own transfer ([`Outbox::file`]).
    File {
        /// More bytes follow behind the file.
        more: bool,
    },
    /// Segments to be read into one buffer and sent by one call ([`Outbox::gather`]).
    Gather,
    /// Memory that the socket has to send as a record of its own kind
    /// ([`Outbox::send_record`]).
    Record,
    /// The socket has to be changed first ([`Outbox::switch`]).
    Switch,
    /// None: all bytes have been sent.
    Empty,
}

impl Outbox {
    /// Returns the next bytes to send. `reads` decides whether the event loop reads a file into a buffer
    /// and sends that, instead of stepping its transfer.
    #[doc(hidden)]
    pub fn next_chunk(&mut self, reads: impl Fn(&FileToSocket) -> bool) -> Chunk {
        if let Some(sealing) = self.record() {
            return Chunk::Memory { more: self.queued > sealing.plain };
        }
        self.pass_marks();
        let sealed = self.sealing.is_some();
        let inlines = self.inlines_small_file();
        let more = self.more_follows();
        match self.queue.segments.front() {
            None => Chunk::Empty,
            Some(Segment::Switch(_)) => Chunk::Switch,
            Some(Segment::Memory { kind, .. })
                if self.socket_records && *kind != RecordKind::DATA =>
            {
                Chunk::Record
            }
            Some(Segment::Raw { .. }) => Chunk::Memory { more },
            Some(Segment::Memory { .. }) if sealed || inlines => Chunk::Gather,
            Some(Segment::Memory { .. }) => match self.queue.segments.get(1) {
                Some(Segment::Unit(_)) => Chunk::Gather,
                Some(Segment::File(file)) if reads(file) => Chunk::Gather,
                _ => Chunk::Memory { more },
            },
            Some(Segment::File(file)) if sealed || reads(file) => Chunk::Gather,
            Some(Segment::File(_)) => Chunk::File { more },
            // Marks and seals in front have been passed.
            Some(Segment::Unit(_) | Segment::Mark(_) | Segment::Seal(_)) => Chunk::Gather,
        }
    }

    /// Returns whether more bytes follow behind the segment in front, so that it may be sent with
    /// `MSG_MORE`. Where the socket makes the records they must be in memory: an open record is not sent.
    fn more_follows(&self) -> bool {
        let mut behind =
            self.queue.segments.iter().skip(1).filter(|it| !matches!(it, Segment::Mark(_)));
        if self.socket_records {
            return matches!(behind.next(), Some(Segment::Memory { kind: RecordKind::DATA, .. }));
        }
        // Marks and seals have no bytes, so they must not cause `MSG_MORE`.
        self.queue.segments.front().is_some_and(|front| self.queued > front.remaining())
    }

    /// Returns the memory of a [`Chunk::Memory`] or a [`Chunk::Record`].
    #[doc(hidden)]
    #[must_use]
    pub fn memory(&self) -> &[u8] {
        if let Some(sealing) = self.record() {
            return &sealing.record[sealing.sent..];
        }
        match self.queue.segments.front() {
            Some(Segment::Memory { bytes, sent, .. } | Segment::Raw { bytes, sent }) => {
                &bytes[*sent..]
            }
            _ => &[],
        }
    }

    /// Returns the transfer of a [`Chunk::File`].
    #[doc(hidden)]
    pub fn file(&mut self) -> Option<&mut FileToSocket> {
        match self.queue.segments.front_mut() {
            Some(Segment::File(transfer)) => Some(transfer),
            _ => None,
        }
    }

    /// Counts sent bytes of the last chunk, in order.
    #[doc(hidden)]
    pub fn complete(&mut self, sent: usize) {
        if let Some(sealing) = self.sealing.as_mut().filter(|sealing| sealing.has_record()) {
            sealing.sent += sent;
            if sealing.sent >= sealing.record.len() {
                let plain = sealing.plain;
                sealing.clear();
                self.count_sent(plain);
                self.pass_marks();
            }
            return;
        }
        self.consume(sent as u64);
        self.count_sent(sent as u64);
    }
}
