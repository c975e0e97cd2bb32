//! The socket below hyper: it sends files in place of their placeholders.
//!
//! Its `poll_write_vectored` sends memory by `writev`, and the memory in front of a file (the head of a
//! response) with `MSG_MORE` (send(2)), so that both share segments of TCP. A placeholder is a step of the
//! file's transfer; on a page-cache miss the blocking pool reads, and the connection is pending meanwhile.
//!
//! # Limitations
//!
//! It has to be directly below hyper, or with adapters in between that pass all slices on as they are,
//! such as `hyper_util::rt::TokioIo`. Below TLS nothing is attached, and bodies are read.

use karez_transfer::tokio::{PollState, Socket, poll_send_some};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use std::io::{self, IoSlice};
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use crate::handle::Handle;
use crate::placeholder::{is_placeholder, total};
use crate::queue::Queue;

/// A socket of tokio that sends the files of attached bodies by reference. For hyper, wrap it in
/// `hyper_util::rt::TokioIo`.
///
/// See the example of [the crate](crate).
#[derive(Debug)]
pub struct Io<S> {
    socket: S,
    queue: Arc<Queue>,
    state: PollState,
}

impl<S> Io<S> {
    /// Wraps a socket.
    pub fn new(socket: S) -> Self {
        Self { socket, queue: Arc::default(), state: PollState::default() }
    }

    /// Returns the handle that attaches bodies to this socket.
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.queue))
    }

    /// Returns the wrapped socket.
    pub fn get_ref(&self) -> &S {
        &self.socket
    }

    /// Returns the wrapped socket. Read and write it only before hyper gets it.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.socket
    }
}

impl<S> Drop for Io<S> {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl<S: Socket> Io<S> {
    /// Sends memory in front of a file.
    fn poll_send_head(
        &self,
        context: &mut Context<'_>,
        memory: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let flags = SendFlags::NOSIGNAL | SendFlags::MORE;
        loop {
            ready!(self.socket.poll_write_ready(context))?;
            let sent = self.socket.try_io(Interest::WRITABLE, || {
                let fd = self.socket.descriptor().as_fd();
                match sendmsg(fd, memory, &mut SendAncillaryBuffer::default(), flags) {
                    Err(Errno::INTR) => Ok(None),
                    sent => Ok(Some(sent?)),
                }
            });
            match sent {
                Ok(Some(sent)) => return Poll::Ready(Ok(sent)),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Sends bytes of the first file, at most `most`.
    fn poll_send_file(
        &mut self,
        context: &mut Context<'_>,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        let Self { socket, queue, state } = self;
        let sent = queue.send_first(
            |transfer, promised| {
                poll_send_some(transfer, socket, promised.min(most as u64), state, context)
            },
            |sent| if let Poll::Ready(Ok(moved)) = sent { *moved } else { 0 },
        );
        match ready!(sent.unwrap_or(Poll::Ready(Ok(0))))? {
            0 => Poll::Ready(Err(misplaced())),
            moved => Poll::Ready(Ok(usize::try_from(moved).unwrap_or(most))),
        }
    }
}

impl<S: Socket + AsyncWrite + Unpin> AsyncWrite for Io<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let promised = this.queue.promised();
        // All placeholders on their way are here, or something between has taken or copied some.
        if total(slices) != promised {
            return Poll::Ready(Err(misplaced()));
        }
        if promised == 0 {
            return Pin::new(&mut this.socket).poll_write_vectored(context, slices);
        }
        let begin = slices.iter().position(|slice| !slice.is_empty()).unwrap_or(0);
        let first_file = slices.iter().position(|slice| is_placeholder(slice)).unwrap_or(begin);
        let head = &slices[begin..first_file];
        let mut sent = 0;
        if !head.is_empty() {
            sent = ready!(this.poll_send_head(context, head))?;
            if sent < head.iter().map(|slice| slice.len()).sum() {
                return Poll::Ready(Ok(sent));
            }
        }
        match this.poll_send_file(context, slices[first_file].len()) {
            Poll::Ready(Ok(moved)) => Poll::Ready(Ok(sent + moved)),
            // The next call gets the same result.
            _ if sent > 0 => Poll::Ready(Ok(sent)),
            other => other,
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(context)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Io<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_read(context, buffer)
    }
}

/// Returns the error of a body that was attached to this socket and did not arrive as it was.
fn misplaced() -> io::Error {
    io::Error::other(
        "the body of a file was changed or buffered between its response and the socket; \
         attach responses outside of the layer that does so",
    )
}
