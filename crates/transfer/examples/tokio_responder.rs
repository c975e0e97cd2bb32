//! A file over HTTP/1.1 on tokio, without a framework: `cargo run -p karez-transfer --features tokio --example
//! tokio_responder -- 127.0.0.1:8080 FILE`.
//!
//! An outbox sends the head and the file behind it in the same segments of TCP (`MSG_MORE`), and the blocking
//! pool reads what is not in memory.
#![allow(clippy::print_stderr, reason = "it is a program")]

use karez_transfer::{FileToSocket, Outbox, Via, tokio::send};
use std::fs::File;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

#[tokio::main]
async fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(path)) = (arguments.next(), arguments.next()) else {
        return Err(io::Error::other("usage: tokio_responder ADDRESS FILE"));
    };
    serve(TcpListener::bind(address).await?, File::open(path)?).await
}

/// Answers every request with the file.
pub async fn serve(listener: TcpListener, file: File) -> io::Result<()> {
    let file = Arc::new(file);
    loop {
        let (socket, client) = listener.accept().await?;
        let file = Arc::clone(&file);
        tokio::spawn(async move {
            if let Err(error) = answer(socket, file).await {
                eprintln!("{client}: {error}");
            }
        });
    }
}

/// Answers the requests of one connection.
async fn answer(mut socket: TcpStream, file: Arc<File>) -> io::Result<()> {
    let (reader, writer) = socket.split();
    let mut lines = BufReader::new(reader).lines();
    while lines.next_line().await?.is_some() {
        // The rest of the head is of no interest here.
        while lines.next_line().await?.is_some_and(|line| !line.is_empty()) {}
        let length = file.metadata()?.len();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        let mut outbox = Outbox::from(head.into_bytes());
        outbox.push_file(FileToSocket::new(Arc::clone(&file), ..length, Via::Auto));
        outbox.report_misses();
        send(&mut outbox, &writer).await?;
    }
    Ok(())
}
