//! Sockets that are registered with tokio.

use ::tokio::io::unix::AsyncFd;
use ::tokio::io::{Interest, Ready};
use ::tokio::net::{TcpStream, UnixStream, tcp, unix};
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A stream socket that is registered with the runtime.
///
/// Implemented for [`TcpStream`] and [`UnixStream`], for the halves of both (a `ReadHalf` only
/// [receives](super::receive), a `WriteHalf` only [sends](super::send)), for an `Arc` of and a reference to
/// any of them, and for [`AsyncFd`] of anything with a descriptor, such as a vsock or an accepted socket of
/// another library. Pipes are no sockets, see [Pipes](super#pipes). A type of another crate implements it by its
/// methods of the same names.
///
/// ```
/// use karez_transfer::{Via, tokio::send_file};
/// use std::io::Write;
/// use std::os::fd::OwnedFd;
/// use tokio::io::unix::AsyncFd;
/// # use std::{io::Read, os::unix::net::UnixStream};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let (socket, mut peer) = UnixStream::pair()?; // not of tokio
/// socket.set_nonblocking(true)?;
/// let socket = AsyncFd::new(OwnedFd::from(socket))?;
///
/// let mut file = tempfile::tempfile()?;
/// file.write_all(b"under the desert")?;
/// send_file(&socket, &file, 6.., Via::Auto).await?;
/// # drop(socket);
/// # let mut received = String::new();
/// # peer.read_to_string(&mut received)?;
/// # assert_eq!(received, "the desert");
/// # Ok(())
/// # }
/// ```
pub trait Socket: Sync {
    /// The type that has the descriptor.
    type Descriptor: AsFd + ?Sized;

    /// Returns the object that has the descriptor.
    fn descriptor(&self) -> &Self::Descriptor;

    /// Waits until the runtime reports `interest`.
    fn ready(&self, interest: Interest) -> impl Future<Output = io::Result<Ready>> + Send;

    /// Makes an attempt; on `WouldBlock` clears the earlier readiness.
    ///
    /// # Errors
    /// `WouldBlock` if the socket is not ready, and the error of the attempt.
    fn try_io<R>(
        &self,
        interest: Interest,
        attempt: impl FnOnce() -> io::Result<R>,
    ) -> io::Result<R>;

    /// Polls for readability, and wakes the task of the last such call.
    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Polls for writability, and wakes the task of the last such call.
    fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// Implements the trait by the methods of the same names of the stream itself.
macro_rules! socket {
    ($($socket:ty, $this:ident => $stream:expr, $descriptor:ty;)+) => {$(
        impl Socket for $socket {
            type Descriptor = $descriptor;

            fn descriptor(&self) -> &$descriptor {
                let $this = self;
                $stream
            }

            async fn ready(&self, interest: Interest) -> io::Result<Ready> {
                let $this = self;
                $stream.ready(interest).await
            }

            fn try_io<R>(
                &self,
                interest: Interest,
                attempt: impl FnOnce() -> io::Result<R>,
            ) -> io::Result<R> {
                let $this = self;
                $stream.try_io(interest, attempt)
            }

            fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                let $this = self;
                $stream.poll_read_ready(context)
            }

            fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                let $this = self;
                $stream.poll_write_ready(context)
            }
        }
    )+};
}

socket! {
    TcpStream, this => this, TcpStream;
    UnixStream, this => this, UnixStream;
    tcp::OwnedReadHalf, this => this.as_ref(), TcpStream;
    tcp::OwnedWriteHalf, this => this.as_ref(), TcpStream;
    tcp::ReadHalf<'_>, this => this.as_ref(), TcpStream;
    tcp::WriteHalf<'_>, this => this.as_ref(), TcpStream;
    unix::OwnedReadHalf, this => this.as_ref(), UnixStream;
    unix::OwnedWriteHalf, this => this.as_ref(), UnixStream;
    unix::ReadHalf<'_>, this => this.as_ref(), UnixStream;
    unix::WriteHalf<'_>, this => this.as_ref(), UnixStream;
}

/// Implements the trait for a pointer to a socket.
macro_rules! pointer {
    ($($pointer:ty),+) => {$(
        impl<S: Socket + ?Sized + Send> Socket for $pointer {
            type Descriptor = S::Descriptor;

            fn descriptor(&self) -> &S::Descriptor {
                (**self).descriptor()
            }

            fn ready(&self, interest: Interest) -> impl Future<Output = io::Result<Ready>> + Send {
                (**self).ready(interest)
            }

            fn try_io<R>(
                &self,
                interest: Interest,
                attempt: impl FnOnce() -> io::Result<R>,
            ) -> io::Result<R> {
                (**self).try_io(interest, attempt)
            }

            fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                (**self).poll_read_ready(context)
            }

            fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                (**self).poll_write_ready(context)
            }
        }
    )+};
}

pointer!(&S, Arc<S>);

impl<T: AsFd + std::os::fd::AsRawFd + Send + Sync> Socket for AsyncFd<T> {
    type Descriptor = T;

    fn descriptor(&self) -> &T {
        self.get_ref()
    }

    async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        Ok(self.ready(interest).await?.ready())
    }

    fn try_io<R>(
        &self,
        interest: Interest,
        attempt: impl FnOnce() -> io::Result<R>,
    ) -> io::Result<R> {
        self.try_io(interest, |_| attempt())
    }

    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(context).map_ok(drop)
    }

    fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_write_ready(context).map_ok(drop)
    }
}
