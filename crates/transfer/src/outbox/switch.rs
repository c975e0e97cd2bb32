//! Switches of an outbox, and the records that the socket makes behind them.

use karez_sys::send_tls_record;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::SendFlags;
use std::io;
use std::os::fd::BorrowedFd;

use super::Outbox;
use super::sealing::Sealing;
use super::segment::Segment;
use crate::interrupted::retry;
use crate::seal::RecordKind;
use crate::switch::{Switch, Switched};

impl Outbox {
    /// Appends a switch: it is made when all bytes appended before it have been passed to the kernel, and
    /// in front of all bytes appended after it. Marks behind it are reported after it has been made.
    pub fn push_switch(&mut self, switch: Box<dyn Switch>) {
        self.queue.segments.push_back(Segment::Switch(switch));
    }

    /// Makes the switch of a [`Chunk::Switch`](super::Chunk).
    ///
    /// # Errors
    /// As [`Switch::switch`]. The switch is gone.
    #[doc(hidden)]
    pub fn switch(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        match self.queue.segments.pop_front() {
            Some(Segment::Switch(switch)) => match switch.switch(socket)? {
                Switched::Socket => (self.sealing, self.socket_records) = (None, true),
                Switched::Seal(seal) => {
                    self.sealing = Some(Box::new(Sealing::new(seal)));
                    self.socket_records = false;
                }
            },
            Some(other) => self.queue.segments.push_front(other),
            None => {}
        }
        self.pass_marks();
        Ok(())
    }

    /// Returns whether the socket makes the records, so that none may be left open by `MSG_MORE` or
    /// `SPLICE_F_MORE` where the bytes behind it have to be read.
    #[doc(hidden)]
    #[must_use]
    pub fn has_socket_records(&self) -> bool {
        self.socket_records
    }

    /// Sends the record of a [`Chunk::Record`](super::Chunk). Returns how many bytes were sent, `None` if
    /// the socket has no room.
    ///
    /// Of a socket that is almost full the kernel accepts records and keeps them in front of the send buffer. A FIN
    /// would overtake them: neither shutdown(2) nor close(2) waits. The last record of a connection
    /// is one of these, so all of them are sent only where poll(2) reports room, which then suffices for all that is
    /// kept.
    ///
    /// # Errors
    /// As sendmsg(2).
    #[doc(hidden)]
    pub fn send_record(
        &mut self,
        socket: BorrowedFd<'_>,
        flags: SendFlags,
    ) -> io::Result<Option<usize>> {
        let kind = match self.queue.segments.front() {
            Some(Segment::Memory { kind, .. }) => *kind,
            _ => RecordKind::DATA,
        };
        if !has_room(socket) {
            return Ok(None);
        }
        let flags = flags | SendFlags::NOSIGNAL;
        match retry(|| send_tls_record(socket, kind.0, self.memory(), flags)) {
            Ok(sent) => {
                self.complete(sent);
                Ok(Some(sent))
            }
            Err(Errno::AGAIN) => Ok(None),
            Err(Errno::INTR) => Ok(Some(0)),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Returns whether a third of the send buffer is free (poll(2), `POLLOUT`).
fn has_room(socket: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(socket, PollFlags::OUT)];
    // An error is found again by the send.
    !matches!(poll(&mut fds, Some(&Timespec::default())), Ok(0))
}

#[cfg(test)]
mod tests {
    use super::super::{Chunk, Mark, OutboxEvent};
    use super::*;
    use crate::{FileToSocket, Via};
    use std::io::Write as _;
    use std::os::fd::AsFd as _;
    use std::sync::Arc;

    /// A socket that makes the records, or refuses to.
    struct Fake(bool);

    impl Switch for Fake {
        fn switch(self: Box<Self>, _socket: BorrowedFd<'_>) -> io::Result<Switched> {
            if self.0 { Ok(Switched::Socket) } else { Err(io::Error::other("refused")) }
        }
    }

    fn next(outbox: &mut Outbox) -> Chunk {
        outbox.next_chunk(|file| file.requested() == Via::Copy)
    }

    fn file(length: u64, via: Via) -> FileToSocket {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; usize::try_from(length).unwrap()]).unwrap();
        FileToSocket::new(Arc::new(file), 0..length, via)
    }

    fn switched() -> Outbox {
        let mut outbox = Outbox::new();
        outbox.push_switch(Box::new(Fake(true)));
        outbox.switch(io::stdin().as_fd()).unwrap();
        outbox
    }

    #[test]
    fn a_switch_waits_for_the_bytes_before_it_and_marks_wait_for_it() {
        let mut outbox = Outbox::new();
        outbox.push_raw(b"finished".to_vec());
        outbox.push_switch(Box::new(Fake(true)));
        outbox.push_mark(Mark(1));
        assert_eq!(next(&mut outbox), Chunk::Memory { more: false });
        outbox.complete(5);
        assert_eq!(
            (next(&mut outbox), outbox.memory()),
            (Chunk::Memory { more: false }, &b"hed"[..])
        );
        outbox.complete(3);
        assert!(!outbox.is_empty() && outbox.next_event().is_none());
        assert_eq!((next(&mut outbox), outbox.has_socket_records()), (Chunk::Switch, false));
        outbox.switch(io::stdin().as_fd()).unwrap();
        assert_eq!((next(&mut outbox), outbox.has_socket_records()), (Chunk::Empty, true));
        assert_eq!(outbox.next_event(), Some(OutboxEvent::Sent(Mark(1))));
    }

    #[test]
    fn a_switch_that_fails_is_gone() {
        let mut outbox = Outbox::new();
        outbox.push_switch(Box::new(Fake(false)));
        outbox.switch(io::stdin().as_fd()).unwrap_err();
        assert_eq!((next(&mut outbox), outbox.has_socket_records()), (Chunk::Empty, false));
    }

    #[test]
    fn no_record_is_left_open_in_front_of_a_file() {
        let mut outbox = switched();
        outbox.push_bytes(b"head".to_vec());
        outbox.push_file(file(100_000, Via::Sendfile));
        assert_eq!(next(&mut outbox), Chunk::Memory { more: false });
        outbox.complete(4);
        assert_eq!(next(&mut outbox), Chunk::File { more: false });
        outbox.clear();
        outbox.push_bytes(b"head".to_vec());
        outbox.push_bytes(b"memory".to_vec());
        assert_eq!(next(&mut outbox), Chunk::Memory { more: true });
    }

    #[test]
    fn records_of_other_kinds_are_sent_by_themselves() {
        let mut outbox = switched();
        outbox.push_file(file(100, Via::Copy));
        outbox.push_record(RecordKind::ALERT, b"al".to_vec());
        outbox.push_bytes(b"data".to_vec());
        assert_eq!(next(&mut outbox), Chunk::Gather);
        let mut gather = outbox.gather(Vec::new(), 1000);
        let range = outbox.gather_next(&mut gather, |_| Via::Copy).unwrap();
        assert_eq!(range.length, 100);
        outbox.gathered(&mut gather, Some(100));
        assert!(outbox.gather_next(&mut gather, |_| Via::Copy).is_none());
        assert!(!outbox.seal(&mut gather).unwrap(), "not MSG_MORE");
        outbox.complete(gather.bytes().len());
        assert_eq!((next(&mut outbox), outbox.memory()), (Chunk::Record, &b"al"[..]));
        outbox.complete(2);
        assert_eq!(next(&mut outbox), Chunk::Memory { more: false });
    }
}
