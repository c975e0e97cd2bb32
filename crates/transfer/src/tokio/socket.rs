//! Sockets that tokio watches.

use ::tokio::io::{Interest, Ready};
use ::tokio::net::{TcpStream, UnixStream};
use std::io;
use std::os::fd::AsFd;

/// A stream socket of tokio's: [`TcpStream`] or [`UnixStream`]. The halves of a split one lend
/// theirs (`as_ref`).
pub trait Socket: AsFd + Sync + Watched {}

impl Socket for TcpStream {}
impl Socket for UnixStream {}

/// What tokio's sockets have in common and no trait of tokio's says.
pub trait Watched {
    /// Waits until the runtime has heard of `interest`.
    fn ready(&self, interest: Interest) -> impl Future<Output = io::Result<Ready>> + Send;

    /// Tries it; `WouldBlock` clears the readiness that was there before.
    fn try_io<R>(
        &self,
        interest: Interest,
        attempt: impl FnOnce() -> io::Result<R>,
    ) -> io::Result<R>;
}

/// Both have the same methods by the same names.
macro_rules! watched {
    ($($stream:ty),+) => {$(
        impl Watched for $stream {
            async fn ready(&self, interest: Interest) -> io::Result<Ready> {
                self.ready(interest).await
            }

            fn try_io<R>(
                &self,
                interest: Interest,
                attempt: impl FnOnce() -> io::Result<R>,
            ) -> io::Result<R> {
                self.try_io(interest, attempt)
            }
        }
    )+};
}

watched!(TcpStream, UnixStream);
