//! Two sockets joined: each direction to its end, and the end passed on.
//!
//! What it does badly: two peers that neither send nor close keep it for ever, so put a time limit
//! around it; and a reset becomes an error of the proxy, not a reset of the other side, unless the
//! caller closes that with `SO_LINGER` 0.

use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use std::future::poll_fn;
use std::io;
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
/// # let (_ask, mut asked) = tokio::sync::mpsc::channel::<()>(1);
/// let mut proxy = Proxy::new(Via::Splice);
/// loop {
///     tokio::select! {
///         ended = proxy.run(&a, &b) => break ended?,
///         // The future is dropped here; the next turn of the loop goes on.
///         Some(()) = asked.recv() => println!("{} bytes so far", proxy.forth().report().bytes),
///     }
/// }
/// assert_eq!(proxy.forth().report().bytes, 6);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Proxy {
    forth: Way,
    back: Way,
}

/// One direction.
#[derive(Debug)]
struct Way {
    transfer: SocketToSocket,
    end_passed_on: bool,
}

impl Proxy {
    /// Moves nothing yet.
    #[must_use]
    pub fn new(settings: impl Into<Settings>) -> Self {
        let settings = settings.into();
        let way = || Way { transfer: SocketToSocket::new(None, settings), end_passed_on: false };
        Self { forth: way(), back: way() }
    }

    /// Moves what `a` receives to `b` and what `b` receives to `a`, until both have closed. When
    /// one has, the other is told so (shutdown(2) of the sending side) once it has all bytes, and
    /// the opposite direction goes on.
    ///
    /// # Cancel safety
    /// Nothing is lost: what is [in flight](SocketToSocket::in_flight) stays here, and the next
    /// call with the same sockets goes on with it.
    ///
    /// # Errors
    /// The first error of either direction; the other may be in the middle of something. It may
    /// be called again, but a socket that was reset stays so.
    pub async fn run<A: Socket, B: Socket>(&mut self, a: &A, b: &B) -> io::Result<()> {
        let mut forth = pin!(self.forth.run(a, b));
        let mut back = pin!(self.back.run(b, a));
        let (mut went, mut came) = (false, false);
        poll_fn(|context| {
            went = went || forth.as_mut().poll(context)?.is_ready();
            came = came || back.as_mut().poll(context)?.is_ready();
            if went && came { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
    }

    /// The direction from `a` to `b`.
    #[must_use]
    pub fn forth(&self) -> &SocketToSocket {
        &self.forth.transfer
    }

    /// The direction from `b` to `a`.
    #[must_use]
    pub fn back(&self) -> &SocketToSocket {
        &self.back.transfer
    }
}

impl Way {
    async fn run<F: Socket, T: Socket>(&mut self, from: &F, to: &T) -> io::Result<()> {
        if self.end_passed_on {
            return Ok(());
        }
        relay(&mut self.transfer, from, to).await?;
        match shutdown(to.as_fd(), Shutdown::Write) {
            // Its peer has been reset since: there is nobody to tell.
            Ok(()) | Err(Errno::NOTCONN) => {}
            Err(errno) => return Err(errno.into()),
        }
        self.end_passed_on = true;
        Ok(())
    }
}

/// Moves what `a` receives to `b` and what `b` receives to `a`, until both have closed, and says
/// how: `a` to `b` first. As [`Proxy::run`], with a proxy of its own.
///
/// # Cancel safety
/// With a dropped future, bytes that had left the one socket and not entered the other are lost.
/// To lose none, run a [`Proxy`] of your own.
///
/// # Errors
/// The first error of either direction, with the reports of both and the number of bytes lost.
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
/// let [forth, back] = proxy(&a, &b, Via::Auto).await?;
/// assert_eq!((forth.bytes, back.bytes), (6, 16));
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
    let reports = [proxy.forth().report().clone(), proxy.back().report().clone()];
    match ended {
        Ok(()) => Ok(reports),
        Err(error) => {
            let in_flight = proxy.forth().in_flight() + proxy.back().in_flight();
            Err(Unfinished { error, report: Box::new(reports), in_flight })
        }
    }
}
