//! Messages with descriptors between a server, its launcher and its successor: a UNIX socket of sequenced packets
//! (unix(7), `SCM_RIGHTS`).

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{self, Errno, IoSlice, IoSliceMut};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Maximum number of descriptors in a message; the kernel permits 253.
pub(super) const MAX_DESCRIPTORS: usize = 64;

/// Maximum length of a message.
const MAX_LENGTH: usize = 64 << 10;

/// One end.
#[derive(Debug)]
pub(super) struct Channel(OwnedFd);

/// A message that was received.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) text: String,
    pub(super) descriptors: Vec<OwnedFd>,
}

impl Channel {
    /// Returns both ends.
    pub(super) fn pair() -> io::Result<(Self, Self)> {
        let flags = SocketFlags::CLOEXEC;
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self(one), Self(other)))
    }

    /// Returns the end that a socket is.
    pub(super) fn of(socket: OwnedFd) -> Self {
        Self(socket)
    }

    pub(super) fn into_socket(self) -> OwnedFd {
        self.0
    }

    /// Sends a message with at most [`MAX_DESCRIPTORS`]. `EPIPE` if the other end is closed.
    pub(super) fn send(&self, text: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors))
        {
            return Err(Errno::MSGSIZE);
        }
        let text = &text.as_bytes()[..text.len().min(MAX_LENGTH)];
        io::retry_on_intr(|| {
            sendmsg(&self.0, &[IoSlice::new(text)], &mut ancillary, SendFlags::NOSIGNAL)
        })?;
        Ok(())
    }

    /// Waits for a message. `None` if the other end is closed; `ETIME` after the timeout.
    pub(super) fn receive(&self, timeout: Option<Duration>) -> io::Result<Option<Message>> {
        if !wait(&[self.as_fd()], timeout)?[0] {
            return Err(Errno::TIME);
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut text = vec![0; MAX_LENGTH];
        let length = loop {
            let mut into = [IoSliceMut::new(&mut text)];
            match recvmsg(&self.0, &mut into, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                Ok(received) => break received.bytes,
                // Reported once, before messages that arrived, where the other end has not read all of its own.
                Err(Errno::INTR | Errno::CONNRESET) => {}
                Err(errno) => return Err(errno),
            }
        };
        if length == 0 {
            return Ok(None);
        }
        text.truncate(length);
        let mut descriptors = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        Ok(Some(Message { text: String::from_utf8_lossy(&text).into_owned(), descriptors }))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits until one of the descriptors can be read or is closed, and returns which; none after the timeout.
pub(super) fn wait(fds: &[BorrowedFd<'_>], timeout: Option<Duration>) -> io::Result<Vec<bool>> {
    let end = timeout.map(|timeout| Instant::now() + timeout);
    let mut fds: Vec<_> =
        fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut fds, left.as_ref()) {
            Ok(_) => return Ok(fds.iter().map(|fd| !fd.revents().is_empty()).collect()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    #[test]
    fn messages_keep_their_bounds_and_bring_descriptors() {
        let (one, other) = Channel::pair().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        one.send("first", &[]).unwrap();
        one.send("second", &[writer.as_fd(), reader.as_fd()]).unwrap();
        assert_eq!(other.receive(None).unwrap().unwrap().text, "first");
        let second = other.receive(None).unwrap().unwrap();
        assert_eq!((second.text.as_str(), second.descriptors.len()), ("second", 2));
        drop(writer);
        let [writer, _reader] = <[OwnedFd; 2]>::try_from(second.descriptors).unwrap();
        std::fs::File::from(writer).write_all(b"water").unwrap();
        let mut bytes = [0; 5];
        reader.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"water");
    }

    /// The kernel reports ECONNRESET ahead of the message.
    #[test]
    fn a_message_arrives_from_an_end_that_has_not_read_its_own() {
        let (one, other) = Channel::pair().unwrap();
        one.send("unread", &[]).unwrap();
        other.send("last", &[]).unwrap();
        drop(other);
        assert_eq!(one.receive(None).unwrap().unwrap().text, "last");
        assert!(one.receive(None).unwrap().is_none());
    }

    #[test]
    fn the_end_and_a_timeout_are_told_apart() {
        let (one, other) = Channel::pair().unwrap();
        assert_eq!(other.receive(Some(Duration::ZERO)).unwrap_err(), Errno::TIME);
        drop(one);
        assert!(other.receive(Some(Duration::ZERO)).unwrap().is_none());
        assert_eq!(other.send("x", &[]).unwrap_err(), Errno::PIPE);
    }
}
