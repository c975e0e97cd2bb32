//! A proxy between two sockets: each direction runs to its end, and the end is passed on.
//!
//! # Limitations
//!
//! Two peers that neither send nor close keep it running forever, so put a timeout
//! around it. A reset becomes an error of the proxy, not a reset of the other side, unless the
//! caller closes that with `SO_LINGER` 0.

use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd as _;
use std::pin::pin;
use std::task::Poll;

use super::drive::relay;
use super::socket::Socket;
use super::unfinished::Unfinished;
use crate::report::Report;
use crate::settings::Settings;
use crate::socket_to_socket::SocketToSocket;

/// Both directions of a proxy between two sockets.
///
/// ```
/// use karez_transfer::{Via, tokio::Proxy};
/// # use tokio::{io::AsyncWriteExt, net::UnixStream};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// # let (mut client, a) = UnixStream::pair()?;
/// # let (b, mut server) = UnixStream::pair()?;
/// # client.write_all(b"water?").await?;
/// # client.shutdown().await?;
/// # server.shutdown().await?;
/// # let (_query, mut queries) = tokio::sync::mpsc::channel::<()>(1);
/// let mut proxy = Proxy::new(Via::Splice);
/// loop {
///     tokio::select! {
///         ended = proxy.run(&a, &b) => break ended?,
///         // The future is dropped here; the next iteration continues.
///         Some(()) = queries.recv() => println!("{} bytes so far", proxy.a_to_b().report().bytes),
///     }
/// }
/// assert_eq!(proxy.a_to_b().report().bytes, 6);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Proxy {
    a_to_b: Pump,
    b_to_a: Pump,
}

/// One direction.
#[derive(Debug)]
struct Pump {
    transfer: SocketToSocket,
    write_shut_down: bool,
}

impl Proxy {
    /// Returns a proxy that has moved no byte.
    #[must_use]
    pub fn new(settings: impl Into<Settings>) -> Self {
        let settings = settings.into();
        let pump =
            || Pump { transfer: SocketToSocket::new(None, settings), write_shut_down: false };
        Self { a_to_b: pump(), b_to_a: pump() }
    }

    /// Moves bytes from `a` to `b` and from `b` to `a` until both have closed. When one closes, the
    /// sending side of the other is shut down (shutdown(2)) after the last byte, and
    /// the opposite direction continues.
    ///
    /// # Cancel safety
    /// No byte is lost: bytes [in flight](SocketToSocket::in_flight) stay here, and the next
    /// call with the same sockets continues with them.
    ///
    /// # Errors
    /// The first error of either direction; the other one may be unfinished. It may
    /// be called again, but a socket that was reset stays so.
    pub async fn run<A: Socket, B: Socket>(&mut self, a: &A, b: &B) -> io::Result<()> {
        let mut a_to_b = pin!(self.a_to_b.run(a, b));
        let mut b_to_a = pin!(self.b_to_a.run(b, a));
        let (mut a_done, mut b_done) = (false, false);
        poll_fn(|context| {
            a_done = a_done || a_to_b.as_mut().poll(context)?.is_ready();
            b_done = b_done || b_to_a.as_mut().poll(context)?.is_ready();
            if a_done && b_done { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
    }

    /// Returns the direction from `a` to `b`.
    #[must_use]
    pub fn a_to_b(&self) -> &SocketToSocket {
        &self.a_to_b.transfer
    }

    /// Returns the direction from `b` to `a`.
    #[must_use]
    pub fn b_to_a(&self) -> &SocketToSocket {
        &self.b_to_a.transfer
    }
}

impl Pump {
    async fn run<F: Socket, T: Socket>(&mut self, from: &F, to: &T) -> io::Result<()> {
        if self.write_shut_down {
            return Ok(());
        }
        relay(&mut self.transfer, from, to).await?;
        match shutdown(to.descriptor().as_fd(), Shutdown::Write) {
            // Its peer has been reset since.
            Ok(()) | Err(Errno::NOTCONN) => {}
            Err(errno) => return Err(errno.into()),
        }
        self.write_shut_down = true;
        Ok(())
    }
}

/// Moves bytes from `a` to `b` and from `b` to `a` until both have closed, and returns the reports, that
/// of `a` to `b` first. As [`Proxy::run`], with a proxy of its own.
///
/// # Cancel safety
/// If the future is dropped, bytes that had left one socket and not entered the other are lost.
/// To lose none, run a [`Proxy`] of your own.
///
/// # Errors
/// The first error of either direction, with the reports of both and the number of lost bytes.
///
/// ```
/// use karez_transfer::{Via, tokio::proxy};
/// # use tokio::{io::{AsyncReadExt, AsyncWriteExt}, net::UnixStream};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// # let (mut client, a) = UnixStream::pair()?;
/// # let (b, mut server) = UnixStream::pair()?;
/// # client.write_all(b"water?").await?;
/// # client.shutdown().await?;
/// # server.write_all(b"under the desert").await?;
/// # server.shutdown().await?;
/// let [a_to_b, b_to_a] = proxy(&a, &b, Via::Auto).await?;
/// assert_eq!((a_to_b.bytes, b_to_a.bytes), (6, 16));
/// # Ok(())
/// # }
/// ```
#[doc(alias = "splice")]
#[doc(alias = "copy_bidirectional")]
pub async fn proxy<A: Socket, B: Socket>(
    a: &A,
    b: &B,
    settings: impl Into<Settings>,
) -> Result<[Report; 2], Unfinished<[Report; 2]>> {
    let mut proxy = Proxy::new(settings);
    let ended = proxy.run(a, b).await;
    let reports = [proxy.a_to_b().report().clone(), proxy.b_to_a().report().clone()];
    match ended {
        Ok(()) => Ok(reports),
        Err(error) => {
            let in_flight = proxy.a_to_b().in_flight() + proxy.b_to_a().in_flight();
            Err(Unfinished { error, report: Box::new(reports), in_flight })
        }
    }
}
