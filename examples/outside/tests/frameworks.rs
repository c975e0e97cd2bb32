//! Transfers on tokio, and files under axum.

use axum::Router;
use karez_hyper::{SendFile, ServeDir};
use karez_transfer::tokio::{
    PollState, Socket, copy_file, poll_receive, poll_relay, poll_send, receive_to_file, send,
    send_file,
};
use karez_transfer::{FileToSocket, Outbox, SocketToFile, SocketToSocket, Via};
use std::fs::File;
use std::future::poll_fn;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

const TEXT: &str = "water under the desert";

fn file() -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(TEXT.as_bytes())?;
    Ok(file)
}

async fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let client = TcpStream::connect(listener.local_addr()?).await?;
    Ok((client, listener.accept().await?.0))
}

async fn sends(socket: impl Socket, mut peer: impl AsyncReadExt + Unpin) -> io::Result<()> {
    let mut outbox = Outbox::from("head ");
    outbox.push_file(FileToSocket::new(file()?, 6.., Via::Auto));
    send(&mut outbox, &socket).await?;
    send_file(&socket, &Arc::new(file()?), 5..11, Via::Auto).await?;
    drop(socket);
    let mut text = String::new();
    peer.read_to_string(&mut text).await?;
    assert_eq!(text, "head under the desert under");
    Ok(())
}

#[tokio::test]
#[allow(deprecated, reason = "the function that replaces AsyncFd::new is unsafe")]
async fn each_kind_of_socket() -> io::Result<()> {
    let (socket, peer) = pair().await?;
    sends(socket, peer).await?;
    let (socket, peer) = UnixStream::pair()?;
    sends(socket, peer).await?;
    let (socket, peer) = pair().await?;
    sends(Arc::new(socket), peer).await?;
    let (socket, peer) = pair().await?;
    let (_reader, writer) = socket.into_split();
    sends(writer, peer).await?;
    let (socket, peer) = pair().await?;
    sends(AsyncFd::new(OwnedFd::from(socket.into_std()?))?, peer).await
}

#[tokio::test]
async fn polled_by_hand() -> io::Result<()> {
    let ((from, to), (sender, receiver)) = (pair().await?, pair().await?);
    let mut state = PollState::default();
    let mut transfer = FileToSocket::new(file()?, .., Via::Auto);
    poll_fn(|context| poll_send(&mut transfer, &from, &mut state, context)).await?;
    drop(from);
    let (mut relay, mut state) = (SocketToSocket::new(None, Via::Auto), PollState::default());
    poll_fn(|context| poll_relay(&mut relay, &to, &sender, &mut state, context)).await?;
    drop(sender);
    let (stored, mut state) = (Arc::new(tempfile::tempfile()?), PollState::default());
    let mut store = SocketToFile::new(Arc::clone(&stored), 0, None, Via::Auto);
    let (reader, _writer) = receiver.into_split();
    poll_fn(|context| poll_receive(&mut store, &reader, &mut state, context)).await?;
    let copied = tempfile::tempfile()?;
    let report = copy_file(&stored, 6..=10, &copied, 0, Via::Auto).await?;
    assert_eq!(report.bytes, 5);
    assert_eq!(copied.metadata()?.len(), 5);
    Ok(())
}

#[tokio::test]
async fn an_upload() -> io::Result<()> {
    let ((mut client, server), stored) = (pair().await?, tempfile::tempfile()?);
    client.write_all(TEXT.as_bytes()).await?;
    let report = receive_to_file(&server, &stored, 0, Some(5), Via::Auto).await?;
    assert_eq!((report.bytes, stored.metadata()?.len()), (5, 5));
    Ok(())
}

#[tokio::test]
async fn files_under_axum() -> io::Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("a.txt");
    std::fs::write(&path, TEXT)?;
    let send = axum::routing::get(move || {
        let path = path.clone();
        async move { SendFile::open(path).await.map_err(|error| error.to_string()) }
    });
    let app = Router::new().route("/one", send).fallback_service(ServeDir::new(directory.path()));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let served = tokio::spawn(karez_hyper::axum::serve(listener, app).into_future());
    for target in ["/one", "/a.txt"] {
        let (mut client, mut response) = (TcpStream::connect(address).await?, String::new());
        client.write_all(format!("GET {target} HTTP/1.0\r\n\r\n").as_bytes()).await?;
        client.read_to_string(&mut response).await?;
        assert!(response.contains(" 200 OK\r\n") && response.ends_with(TEXT), "{response}");
    }
    served.abort();
    Ok(())
}
