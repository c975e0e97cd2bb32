//! A TCP proxy: `cargo run -p karez-transfer --features tokio --example tokio_proxy -- LISTEN TO`,
//! for example `127.0.0.1:9000 127.0.0.1:8080`. Bytes go through a pipe, not through this program.
#![allow(clippy::print_stderr, reason = "it is a program")]

use karez_transfer::{Via, tokio::proxy};
use std::{env, io};
use tokio::net::{TcpListener, TcpStream};

#[tokio::main]
async fn main() -> io::Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [listen, to] = &arguments[..] else {
        return Err(io::Error::other("usage: tokio_proxy LISTEN TO"));
    };
    listen_and_relay(TcpListener::bind(listen).await?, to.clone()).await
}

/// Relays each connection to the server at `to`.
pub async fn listen_and_relay(listener: TcpListener, to: String) -> io::Result<()> {
    loop {
        let (client, address) = listener.accept().await?;
        let to = to.clone();
        tokio::spawn(async move {
            match serve(&client, &to).await {
                Ok(bytes) => eprintln!("{address}: {bytes} bytes"),
                Err(error) => eprintln!("{address}: {error}"),
            }
        });
    }
}

async fn serve(client: &TcpStream, to: &str) -> io::Result<u64> {
    let server = TcpStream::connect(to).await?;
    let [there, back] = proxy(client, &server, Via::Auto).await?;
    Ok(there.bytes + back.bytes)
}
