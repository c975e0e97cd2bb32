//! Tokio: a socket type of this crate, polling, proxies, and what is left of a transfer that fails.

use karez_transfer::tokio::{
    Outgoing, PollState, Proxy, Socket, Truncated, Unfinished, copy, poll_copy, poll_send_some,
    proxy, receive, relay, send, send_file,
};
use karez_transfer::{FileToFile, FileToSocket, SocketToFile, SocketToSocket, Via};
use std::fs::File;
use std::future::poll_fn;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest, Ready};
use tokio::net::UnixStream;

const TEXT: &str = "water under the desert";

fn file() -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(TEXT.as_bytes())?;
    Ok(file)
}

/// A socket with something beside it, as programs have them.
struct Named {
    socket: UnixStream,
    _name: &'static str,
}

impl Named {
    fn new(socket: UnixStream) -> Self {
        Self { socket, _name: "of the caller" }
    }
}

impl Socket for Named {
    type Descriptor = UnixStream;

    fn descriptor(&self) -> &UnixStream {
        &self.socket
    }

    fn ready(&self, interest: Interest) -> impl Future<Output = io::Result<Ready>> + Send {
        self.socket.ready(interest)
    }

    fn try_io<R>(
        &self,
        interest: Interest,
        attempt: impl FnOnce() -> io::Result<R>,
    ) -> io::Result<R> {
        self.socket.try_io(interest, attempt)
    }

    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_read_ready(context)
    }

    fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_write_ready(context)
    }
}

async fn send_all(transfer: &mut impl Outgoing, socket: &impl Socket) -> io::Result<()> {
    send(transfer, socket).await
}

#[tokio::test]
async fn a_socket_of_this_crate() -> io::Result<()> {
    let (near, far) = UnixStream::pair()?;
    let (near, far) = (Named::new(near), Named::new(far));
    send_all(&mut FileToSocket::new(file()?, .., Via::Auto), &near).await?;
    let stored = Arc::new(tempfile::tempfile()?);
    receive(&mut SocketToFile::new(Arc::clone(&stored), 0, Some(22), Via::Auto), &far).await?;
    assert_eq!(stored.metadata()?.len(), 22);
    let mut transfer = FileToSocket::new(stored, 6.., Via::Copy);
    let mut state = PollState::default();
    let some = poll_fn(|context| poll_send_some(&mut transfer, &near, 5, &mut state, context));
    assert_eq!(some.await?, 5);
    let (to, mut peer) = UnixStream::pair()?;
    relay(&mut SocketToSocket::new(Some(5), Via::Auto), &far, &Named::new(to)).await?;
    let mut text = String::new();
    peer.read_to_string(&mut text).await?;
    assert_eq!(text, "under");
    Ok(())
}

#[tokio::test]
async fn files_are_copied_in_the_pool() -> io::Result<()> {
    let source = Arc::new(file()?);
    let sink = Arc::new(tempfile::tempfile()?);
    let copied =
        |range| FileToFile::new(Arc::clone(&source), range, Arc::clone(&sink), 0, Via::Copy);
    copy(&Arc::new(Mutex::new(copied(0..22)))).await?;
    let (again, mut state) = (Arc::new(Mutex::new(copied(0..11))), PollState::default());
    poll_fn(|context| poll_copy(&again, &mut state, context)).await?;
    assert_eq!(sink.metadata()?.len(), 22);
    Ok(())
}

#[tokio::test]
async fn both_directions_of_a_proxy() -> io::Result<()> {
    for own in [true, false] {
        let ((mut client, a), (b, mut server)) = (UnixStream::pair()?, UnixStream::pair()?);
        client.write_all(b"water?").await?;
        client.shutdown().await?;
        server.write_all(TEXT.as_bytes()).await?;
        server.shutdown().await?;
        let bytes = if own {
            let mut proxy = Proxy::new(Via::Splice);
            proxy.run(&a, &b).await?;
            [proxy.a_to_b().report().bytes, proxy.b_to_a().report().bytes]
        } else {
            proxy(&a, &b, Via::Auto).await?.map(|report| report.bytes)
        };
        assert_eq!(bytes, [6, 22]);
    }
    Ok(())
}

#[tokio::test]
async fn a_failure_has_the_report() -> io::Result<()> {
    let (socket, _peer) = UnixStream::pair()?;
    let unfinished: Unfinished =
        send_file(&socket, &file()?, ..30, Via::Copy).await.expect_err("the file has 22 bytes");
    assert_eq!((unfinished.report.bytes, unfinished.in_flight), (22, 0));
    let inner = unfinished.error.get_ref().and_then(|inner| inner.downcast_ref::<Truncated>());
    assert_eq!(inner.map(|inner| inner.missing), Some(Truncated::new(8).missing));
    Ok(())
}
