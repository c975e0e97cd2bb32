//! Uploads into a directory, on tokio: `cargo run -p karez-transfer --features tokio --example tokio_upload --
//! 127.0.0.1:8080 DIRECTORY`, then `curl -T FILE http://127.0.0.1:8080/name`.
//!
//! The body goes from the socket to the file through a pipe (splice), without a copy in this program; the bytes
//! of it that the reader of the head already holds go first.
#![allow(clippy::print_stderr, reason = "it is a program")]

use karez_transfer::{SocketToFile, Via, tokio::receive};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

#[tokio::main]
async fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(directory)) = (arguments.next(), arguments.next()) else {
        return Err(io::Error::other("usage: tokio_upload ADDRESS DIRECTORY"));
    };
    serve(TcpListener::bind(address).await?, directory.into()).await
}

/// Stores the body of every PUT in the directory.
pub async fn serve(listener: TcpListener, directory: PathBuf) -> io::Result<()> {
    loop {
        let (socket, client) = listener.accept().await?;
        let directory = directory.clone();
        tokio::spawn(async move {
            match store(socket, &directory).await {
                Ok(report) => eprintln!("{client}: {report}"),
                Err(error) => eprintln!("{client}: {error}"),
            }
        });
    }
}

async fn store(mut socket: TcpStream, directory: &Path) -> io::Result<String> {
    let (reader, mut writer) = socket.split();
    let mut reader = BufReader::new(reader);
    let mut line = String::new();
    reader.read_line(&mut line).await?;
    let name = line.split(' ').nth(1).and_then(|path| Path::new(path).file_name());
    let name = name.map(|name| directory.join(name)).ok_or(io::ErrorKind::InvalidInput)?;
    let mut length = None;
    loop {
        line.clear();
        reader.read_line(&mut line).await?;
        let Some((field, value)) = line.trim_end().split_once(": ") else { break };
        match &field.to_ascii_lowercase()[..] {
            "content-length" => length = value.parse().ok(),
            "expect" => writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?,
            _ => {}
        }
    }
    let ahead = reader.buffer().to_vec();
    let mut transfer =
        SocketToFile::new(File::create(name)?, 0, length, Via::Auto).starting_with(ahead);
    receive(&mut transfer, reader.get_ref()).await?;
    let response = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    writer.write_all(response).await?;
    Ok(transfer.report().to_string())
}
