//! A file over a socket on smol, by the step function: `cargo run -p karez-transfer --example smol_responder --
//! 127.0.0.1:8080 FILE`, then `nc 127.0.0.1 8080`.
//!
//! The core knows no runtime: [`send`] is all that one needs. smol waits for the socket, and its pool for blocking calls
//! reads what is not in memory.
#![allow(clippy::print_stderr, reason = "it is a program")]

use karez_transfer::{FileToSocket, Progress, Via};
use smol::Async;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::Arc;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(path)) = (arguments.next(), arguments.next()) else {
        return Err(io::Error::other("usage: smol_responder ADDRESS FILE"));
    };
    let address: SocketAddr = address.parse().map_err(io::Error::other)?;
    let file = File::open(path)?;
    smol::block_on(async { serve(Async::<TcpListener>::bind(address)?, file).await })
}

/// Sends the file to every client, and closes the connection.
pub async fn serve(listener: Async<TcpListener>, file: File) -> io::Result<()> {
    let file = Arc::new(file);
    loop {
        let (socket, client) = listener.accept().await?;
        let file = Arc::clone(&file);
        let sending = async move {
            let length = file.metadata()?.len();
            send(&socket, FileToSocket::new(file, ..length, Via::Sendfile)).await
        };
        smol::spawn(async move {
            if let Err(error) = sending.await {
                eprintln!("{client}: {error}");
            }
        })
        .detach();
    }
}

/// Drives a transfer to its end.
async fn send(socket: &Async<TcpStream>, mut transfer: FileToSocket) -> io::Result<()> {
    transfer.report_misses();
    loop {
        match transfer.step(socket.as_fd())? {
            // A fast client must not keep the others from running.
            Progress::Moved(_) => smol::future::yield_now().await,
            Progress::NeedsWritable => socket.writable().await?,
            Progress::NeedsWorker => {
                let page_in = transfer.page_in();
                smol::unblock(move || page_in.run()).await?;
            }
            Progress::Done => return Ok(()),
            Progress::Truncated { missing } => {
                let reason = format!("the file became shorter: {missing} bytes are missing");
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
            }
            // Of vias with `MSG_ZEROCOPY`, which this one does not fall back to.
            other => return Err(io::Error::other(format!("{other:?}"))),
        }
    }
}
